"""Parameters of an AVSynth dataset, its events, labels and random streams."""

import dataclasses
from typing import Any, Protocol

import numpy as np

# increases whenever the same parameters would give other clips or labels
VERSION = 1

VISUAL_EVENTS = ('bounce', 'slide', 'spin', 'pulse', 'squash', 'flash')
SOUND_EVENTS = ('sweep_up', 'sweep_down', 'warble', 'beeps', 'hiss', 'chord')
SPLITS = ('train', 'val', 'test')
TASKS = ('pair', 'parity', 'action', 'match', 'events')
# the task with several labels a clip, the most events that it shows, and the most that it plays
EVENTS, AT_ONCE = 'events', 2
# numbers of events seen and heard, each equally likely: never none at all
_NUMBERS = tuple((seen, heard) for seen in range(AT_ONCE + 1) for heard in range(AT_ONCE + 1) if seen + heard)
# columns of a box in the lists
CORNERS = ('x0', 'y0', 'x1', 'y1')
# between the names of several events
SEPARATOR = '|'

_STREAMS = {'order': 0, 'video': 1, 'audio': 2, 'evidence': 3}


@dataclasses.dataclass(frozen=True)
class AVSynthSpec:
    """The parameters that determine the content of a dataset.

    Args:
        task: 'pair', 'parity', 'action', 'match' or 'events', see the package's docstring.
        train: Clips in the training split; as for the others, a multiple of num_events squared, but for 'events'.
        val: Clips in the validation split.
        test: Clips in the test split.
        num_events: Number n of visual and of sound events; 0 for 6 in 'events', 4 in the other tasks.
        size: Side of the square frames in pixels.
        seconds: Length of a clip.
        fps: Frames per second.
        sample_rate: Samples per second of the mono audio.
        seed: Root of all randomness.

    Raises:
        ValueError: A value is out of its range.
    """

    task: str = 'pair'
    train: int = 1600
    val: int = 160
    test: int = 480
    num_events: int = 0
    size: int = 96
    seconds: float = 2.0
    fps: int = 12
    sample_rate: int = 24000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f'unknown task {self.task!r}: choose one of {", ".join(TASKS)}')
        if not self.num_events:
            object.__setattr__(self, 'num_events', len(VISUAL_EVENTS) if self.task == EVENTS else 4)
        check_range('num_events', self.num_events, AT_ONCE, len(VISUAL_EVENTS))
        check_format(self)
        pairs = self.num_events**2
        for split in SPLITS:
            count = self.count(split)
            if self.task == EVENTS:
                check_range(split, count, 1, 10**6)
            elif count < pairs or count % pairs:
                near = max(pairs, round(count / pairs) * pairs)
                raise ValueError(
                    f'{split} is {count}, but each of the {pairs} event pairs must occur equally often: '
                    f'take a multiple of {pairs}, such as {near}'
                )

    def count(self, split: str) -> int:
        """Number of clips in a split."""
        return int(getattr(self, split))

    def rng(self, split: str, index: int, stream: str) -> np.random.Generator:
        """Random numbers that depend on (seed, split, index, stream) alone; no two of these share a stream."""
        return clip_rng(self.seed, split, index, stream)

    def events(self, split: str, index: int) -> tuple[int, int]:
        """Events of a clip with one of each, in all tasks but 'events'.

        Each block of num_events squared clips is a shuffle of all pairs, so that every whole block is balanced and a
        clip does not depend on the size of its split. In the task 'match' the sound event follows the visual one.

        Returns:
            Visual and sound index, each in [0, num_events).
        """
        pairs = self.num_events**2
        block, place = divmod(index, pairs)
        pair = int(self.rng(split, block, 'order').permutation(pairs)[place])
        visual, sound = divmod(pair, self.num_events)
        return visual, visual if self.task == 'match' else sound

    def event_sets(self, split: str, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Events that a clip shows, and events that it plays, in the order of their indices.

        In the task 'events' their numbers are drawn from 0 to 2 each, not both 0, and then the events, independently;
        otherwise there is one of each.
        """
        if self.task != EVENTS:
            visual, sound = self.events(split, index)
            return (visual,), (sound,)
        rng = self.rng(split, index, 'order')
        numbers = _NUMBERS[rng.integers(len(_NUMBERS))]
        seen, heard = (tuple(sorted(rng.permutation(self.num_events)[:number].tolist())) for number in numbers)
        return seen, heard

    def class_lists(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes in the order of their indices, by the column of the manifests that holds them."""
        visual, sound = VISUAL_EVENTS[: self.num_events], SOUND_EVENTS[: self.num_events]
        if self.task == 'action':
            return dict(verb=visual, noun=sound)
        if self.task == 'parity':
            return dict(label=tuple(f'sum{i}' for i in range(self.num_events)))
        if self.task in ('match', EVENTS):
            return dict(label=tuple(f'{v}+{s}' for v, s in zip(visual, sound, strict=True)))
        return dict(label=tuple(f'{v}+{s}' for v in visual for s in sound))

    def labels(self, visual: int | tuple[int, ...], sound: int | tuple[int, ...]) -> dict[str, str]:
        """What the manifests say of a clip, by column: class names of a pair of event indices; of all, in 'events'."""
        if isinstance(visual, tuple) or isinstance(sound, tuple):
            return self._labels_of_sets(visual, sound)  # type: ignore[arg-type]
        indices = {
            'pair': dict(label=visual * self.num_events + sound),
            'parity': dict(label=(visual + sound) % self.num_events),
            'action': dict(verb=visual, noun=sound),
            'match': dict(label=visual),
        }[self.task]
        return {column: names[indices[column]] for column, names in self.class_lists().items()}

    def _labels_of_sets(self, seen: tuple[int, ...], heard: tuple[int, ...]) -> dict[str, str]:
        if self.task != EVENTS:
            return self.labels(*seen, *heard)
        names = self.class_lists()['label']
        return dict(label=SEPARATOR.join(names[k] for k in sorted({*seen, *heard})))

    def clip_path(self, split: str, index: int) -> str:
        """Path of a clip relative to the dataset's folder; it does not reveal the class."""
        return clip_path(split, index)

    def to_dict(self) -> dict[str, Any]:
        """The parameters and the generator's version, as in meta.json."""
        return {'generator': 'avsynth', 'version': VERSION, **dataclasses.asdict(self)}


class Format(Protocol):
    """What a clip of any task has."""

    @property
    def size(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def fps(self) -> int: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def seed(self) -> int: ...


def check_format(spec: Format) -> None:
    """Raises ValueError if a clip cannot have such a size, length, rate or seed."""
    check_range('size', spec.size, 32, 1024)
    if spec.size % 2:
        raise ValueError(f'size is {spec.size}, but H.264 needs an even size: take {spec.size + 1}')
    check_range('seconds', spec.seconds, 1, 60)
    check_range('fps', spec.fps, 4, 60)
    if spec.sample_rate not in (16000, 22050, 24000, 32000, 44100, 48000):
        raise ValueError(f'sample_rate is {spec.sample_rate}: take 16000, 22050, 24000, 32000, 44100 or 48000')
    if spec.seed < 0:
        raise ValueError(f'seed is {spec.seed}: take 0 or more')


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError if a parameter is out of its range."""
    if not low <= value <= high:
        raise ValueError(f'{name} is {value}: take a value from {low} to {high}')


def clip_rng(seed: int, split: str, index: int, stream: str) -> np.random.Generator:
    """Random numbers that depend on these alone; no two of them share a stream."""
    return np.random.default_rng([seed, SPLITS.index(split), index, _STREAMS[stream]])


def clip_path(split: str, index: int) -> str:
    """Path of a clip relative to the dataset's folder; it does not reveal the class."""
    return f'clips/{split}/{index:05d}.mp4'
