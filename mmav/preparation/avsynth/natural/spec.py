"""Parameters of a `natural` dataset, its classes, and what each clip shows and plays."""

import dataclasses
from typing import Any

import numpy as np

from mmav.preparation.avsynth.spec import SPLITS, check_format, check_range, clip_path, clip_rng

NATURAL = 'natural'
# increases whenever the same parameters would give other clips or labels
VERSION = 1

HUES = ('red', 'amber', 'lime', 'green', 'cyan', 'blue', 'violet', 'pink')
MARKS = ('plain', 'light', 'dark', 'split')
TIMBRES = ('hum', 'beeps', 'warble', 'hiss')
PITCHES = len(HUES)
NUM_CLASSES = len(HUES) * len(MARKS)

# what a modality gives of the clip's class; of the sound, also 'silent' (a track of zeros) and 'absent' (no track)
ON, OTHER, DISTRACTOR, SILENT, ABSENT = 'on-class', 'other', 'distractor', 'silent', 'absent'


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What one modality of a clip gives.

    Args:
        state: 'on-class', 'other' (the event of another class of its family), 'distractor' (what belongs to no class),
            and of the sound 'silent' or 'absent'.
        event: Class whose event it is; None if it belongs to no class.
        ambiguous: Whether only the family of the event can be told.
        size: Of the object, in [0, 1]; of a sound, how low it is within its band.
        tempo: In [0, 1], of the motion or of the sound's beats.
    """

    state: str
    event: int | None
    ambiguous: bool
    size: float
    tempo: float

    @property
    def hue(self) -> int | None:
        """Visual family, index into HUES; None of an event that belongs to no class."""
        return None if self.event is None else self.event // len(MARKS)

    @property
    def mark(self) -> int | None:
        """What tells the classes of a visual family apart, index into MARKS; None where nothing does."""
        return None if self.event is None or self.ambiguous else self.event % len(MARKS)

    @property
    def timbre(self) -> int | None:
        """Audio family, index into TIMBRES; None of an event that belongs to no class."""
        return None if self.event is None else self.event % len(TIMBRES)

    @property
    def pitch(self) -> int | None:
        """What tells the classes of an audio family apart, a band of 8; None where nothing does."""
        return None if self.event is None or self.ambiguous else self.event // len(TIMBRES)


@dataclasses.dataclass(frozen=True)
class NaturalSpec:
    """The parameters that determine the content of a dataset of the task 'natural'.

    Args:
        task: 'natural'.
        train: Clips in the training split; as for the others, a multiple of the 32 classes.
        val: Clips in the validation split.
        test: Clips in the test split.
        size: Side of the square frames in pixels.
        seconds: Length of a clip.
        fps: Frames per second.
        sample_rate: Samples per second of the mono audio.
        seed: Root of all randomness.
        video_off: Probability that the video is off-class; then the audio is on-class.
        audio_off: Probability that the audio is off-class; then the video is on-class.
        other: Probability that a modality is off-class and gives the event of another class of its family, each equally
            likely. It counts into ``video_off``, and again into ``audio_off``; the rest of them belongs to no class.
        silent: Probability of a track of zeros; it counts into ``audio_off``.
        absent: Probability of no audio track; it counts into ``audio_off``.
        ambiguous: Probability that an on-class event shows its family only, independently in each modality.

    Raises:
        ValueError: A value is out of its range.
    """

    task: str = NATURAL
    train: int = 3200
    val: int = 640
    test: int = 1984
    size: int = 40
    seconds: float = 2.0
    fps: int = 8
    sample_rate: int = 16000
    seed: int = 0
    video_off: float = 0.24
    audio_off: float = 0.24
    other: float = 0.10
    silent: float = 0.04
    absent: float = 0.04
    ambiguous: float = 0.20

    def __post_init__(self) -> None:
        if self.task != NATURAL:
            raise ValueError(f'task is {self.task!r}: NaturalSpec has {NATURAL!r} alone')
        check_format(self)
        for split in SPLITS:
            count = self.count(split)
            if count < NUM_CLASSES or count % NUM_CLASSES:
                near = max(NUM_CLASSES, round(count / NUM_CLASSES) * NUM_CLASSES)
                raise ValueError(
                    f'{split} is {count}, but each of the {NUM_CLASSES} classes must occur equally often: '
                    f'take a multiple of {NUM_CLASSES}, such as {near}'
                )
        for name in ('video_off', 'audio_off', 'other', 'silent', 'absent', 'ambiguous'):
            check_range(name, getattr(self, name), 0, 1)
        if self.video_off + self.audio_off > 1:
            raise ValueError(f'video_off + audio_off is {self.video_off + self.audio_off:g}: take at most 1')
        if self.other > self.video_off + 1e-9:
            raise ValueError(f'other is {self.other}, more than video_off, {self.video_off}, of which it is a part')
        if self.other + self.silent + self.absent > self.audio_off + 1e-9:
            raise ValueError(
                f'other + silent + absent is {self.other + self.silent + self.absent:g}, more than audio_off, '
                f'{self.audio_off}, of which they are parts'
            )

    @property
    def video_states(self) -> dict[str, float]:
        """State of the video -> its probability."""
        return {ON: 1 - self.video_off, OTHER: self.other, DISTRACTOR: self.video_off - self.other}

    @property
    def audio_states(self) -> dict[str, float]:
        """State of the audio -> its probability."""
        rest = self.audio_off - self.other - self.silent - self.absent
        return {
            ON: 1 - self.audio_off,
            OTHER: self.other,
            DISTRACTOR: rest,
            SILENT: self.silent,
            ABSENT: self.absent,
        }

    def count(self, split: str) -> int:
        """Number of clips in a split."""
        return int(getattr(self, split))

    def rng(self, split: str, index: int, stream: str) -> np.random.Generator:
        """Random numbers that depend on (seed, split, index, stream) alone; no two of these share a stream."""
        return clip_rng(self.seed, split, index, stream)

    def label(self, split: str, index: int) -> int:
        """Class of a clip; each block of 32 clips is a shuffle of all classes."""
        block, place = divmod(index, NUM_CLASSES)
        return int(self.rng(split, block, 'order').permutation(NUM_CLASSES)[place])

    def evidence(self, split: str, index: int) -> tuple[Evidence, Evidence]:
        """What a clip shows and what it plays.

        An aligned clip has one size and one tempo for both; in a misaligned one the modalities have their own.
        """
        label, rng = self.label(split, index), self.rng(split, index, 'evidence')
        draw, shifts = rng.uniform(), (int(rng.integers(1, len(MARKS))), int(rng.integers(1, PITCHES)))
        ambiguous, factors = rng.uniform(size=2) < self.ambiguous, rng.uniform(size=(2, 2))
        states, start = [ON, ON], 0.0
        for modality, probabilities in enumerate((self.video_states, self.audio_states)):
            for state, probability in list(probabilities.items())[1:]:
                if start <= draw < start + probability:
                    states[modality] = state
                start += probability
        if states == [ON, ON]:
            factors[1] = factors[0]
        found = []
        for modality, state in enumerate(states):
            event = {ON: label, OTHER: related(label)[modality][shifts[modality]]}.get(state)
            hidden = bool(ambiguous[modality]) and state == ON
            found.append(Evidence(state, event, hidden, *(float(value) for value in factors[modality])))
        return found[0], found[1]

    def class_lists(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes in the order of their indices, by the column of the manifests that holds them."""
        names = (f'{visual_name(k)}+{sound_name(k)}' for k in range(NUM_CLASSES))
        return dict(label=tuple(names))

    def clip_path(self, split: str, index: int) -> str:
        """Path of a clip relative to the dataset's folder; it does not reveal the class."""
        return clip_path(split, index)

    def to_dict(self) -> dict[str, Any]:
        """The parameters and the generator's version, as in meta.json."""
        return {'generator': 'avsynth', 'version': VERSION, **dataclasses.asdict(self)}


def related(label: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The classes of the same visual family, and those of the same audio family, a class itself first.

    >>> related(6)
    ((6, 7, 4, 5), (6, 10, 14, 18, 22, 26, 30, 2))
    """
    family, member = divmod(label, len(MARKS))
    visual = tuple(family * len(MARKS) + (member + shift) % len(MARKS) for shift in range(len(MARKS)))
    audio = tuple((label + shift * len(TIMBRES)) % NUM_CLASSES for shift in range(PITCHES))
    return visual, audio


def visual_name(event: int, *, ambiguous: bool = False) -> str:
    """Name of the visual event of a class, such as ``red_plain``; ``red`` if only the family can be told."""
    hue, mark = divmod(event, len(MARKS))
    return HUES[hue] if ambiguous else f'{HUES[hue]}_{MARKS[mark]}'


def sound_name(event: int, *, ambiguous: bool = False) -> str:
    """Name of the sound event of a class, such as ``hum_1``; ``hum`` if only the family can be told."""
    pitch, timbre = divmod(event, len(TIMBRES))
    return TIMBRES[timbre] if ambiguous else f'{TIMBRES[timbre]}_{pitch + 1}'
