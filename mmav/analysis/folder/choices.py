"""What to train a folder's model with: window, frames, batch, epochs and so on, each with its reason."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmav.analysis.folder.timing import EpochTime
from mmav.mel import FRAME_LENGTH_MS
from mmav.parallel import worker_problem
from mmav.threads import cpu_count

# the config that everything starts from, by its name among those that come with mmav
CONFIG = 'small/small_folder.py'
MINUTES = 20.0
# seconds of the longest and shortest window
LONGEST, SHORTEST = 5.0, 0.5
FRAME_SHIFT_MS = 10.0
# frames of video: so many a second, within these limits
FRAMES_A_SECOND, FEWEST_FRAMES, MOST_FRAMES = 2, 8, 16
# the clips that the epochs of CONFIG are meant for, and limits on what smaller sets make of them
CLIPS_OF_CONFIG, MOST_EPOCHS = 2000, 100
_ABOUT = (0.8, 1.25)
# batch norm needs the smallest batch
LEAST_BATCH, STEPS_OF_EPOCH = 8, 8


@dataclass(frozen=True)
class Choice:
    """One of the choices, in words: what, the value, and why."""

    name: str
    value: str
    why: str


@dataclass
class Choices:
    """What to train with.

    Attributes:
        modalities: Of 'video' and 'audio'.
        window: Seconds that the model looks at in one piece.
        num_frames: Frames of video in a window.
        target_frames: Frames of a spectrogram.
        batch_size: Clips in a batch.
        max_epochs: Passes over the training clips.
        num_workers: Processes that read.
        reasons: All of this in words.
    """

    modalities: tuple[str, ...]
    window: float
    num_frames: int
    target_frames: int
    batch_size: int
    max_epochs: int
    num_workers: int
    reasons: dict[str, Choice] = field(default_factory=dict)

    def explain(self, name: str, value: object, why: str) -> None:
        """Notes a reason, or replaces it."""
        self.reasons[name] = Choice(name, str(value), why)


def choose_window(lengths: Sequence[float]) -> tuple[float, str]:
    """Chooses the seconds that the model looks at: the usual length of a clip, within limits.

    Args:
        lengths: Of the clips, in seconds.

    Returns:
        Seconds, and why.

    >>> choose_window([2.0, 2.04, 2.02])[0], choose_window([10.0, 600.0])[0]
    (2.0, 5.0)
    """
    usual = statistics.median(lengths)
    window = round(min(max(usual, SHORTEST), LONGEST), 1)
    if usual > LONGEST:
        return window, f'the longest window; half of the clips last {usual:,.1f} s or more'
    return (
        window,
        'the usual length of a clip' if usual >= SHORTEST else f'the shortest window; clips last {usual:.2g} s',
    )


def spectrogram_frames(window: float) -> int:
    """Frames of a spectrogram of a window, rounded up to a multiple of 8 for the encoder's patches.

    >>> spectrogram_frames(2.0), spectrogram_frames(5.0)
    (200, 504)
    """
    whole = math.floor((1000 * window - FRAME_LENGTH_MS) / FRAME_SHIFT_MS) + 1
    return 8 * math.ceil(whole / 8)


def choose(
    lengths: Sequence[float],
    modalities: tuple[str, ...],
    *,
    why_modalities: str,
    clips: int,
    base: Mapping[str, Any],
    workers: int | None = None,
) -> Choices:
    """Chooses all but the time that training may take, see :func:`limit_epochs`.

    Args:
        lengths: Of the clips, in seconds.
        modalities: Of the model.
        why_modalities: Why these.
        clips: Number of training clips.
        base: The config to start from.
        workers: Processes that read; None to choose.
    """
    window, why = choose_window(lengths)
    frames = min(max(FEWEST_FRAMES, 4 * math.ceil(FRAMES_A_SECOND * window / 4)), MOST_FRAMES)
    usual_batch = int(base['train_dataloader']['batch_size'])
    batch = usual_batch
    while batch > LEAST_BATCH and clips / batch < STEPS_OF_EPOCH:
        batch //= 2
    while batch > max(clips, 2):  # what does not fill a batch is dropped
        batch //= 2
    usual_epochs = int(base['train_cfg']['max_epochs'])
    few_or_many = math.sqrt(CLIPS_OF_CONFIG / max(clips, 1))
    # sets of about the usual size, which lose some clips to validation, keep the config's own
    epochs = usual_epochs if _ABOUT[0] < few_or_many < _ABOUT[1] else round(usual_epochs * few_or_many)
    epochs = min(max(epochs, usual_epochs // 2, 1), max(MOST_EPOCHS, usual_epochs))
    number, why_workers = _workers() if workers is None else (workers, 'as asked for with --workers')
    chosen = Choices(modalities, window, frames, spectrogram_frames(window), batch, epochs, number)
    chosen.explain('modalities', ' and '.join(modalities), why_modalities)
    chosen.explain('window', f'{window:g} s', why)
    if 'video' in modalities:
        chosen.explain('frames', frames, f'{frames / window:.2g} a second, spread over the window')
    if 'audio' in modalities:
        chosen.explain('spectrogram', f'{chosen.target_frames} frames', f'{window:g} s at 10 ms, without padding')
    few = '' if batch == usual_batch else f', less than {usual_batch} for more steps an epoch'
    chosen.explain('batch', batch, f'{clips:,} training clips{few}')
    more = '; fewer clips take more epochs' if epochs > usual_epochs else ''
    chosen.explain('epochs', epochs, f'{clips:,} training clips{more}')
    chosen.explain('reading', f'{number} processes' if number else 'in the main process', why_workers)
    return chosen


def limit_epochs(chosen: Choices, time: EpochTime, minutes: float, *, asked: int | None = None) -> None:
    """Limits the epochs to what fits the time, or to what is asked for.

    Args:
        chosen: Changed here.
        time: That an epoch takes, as measured.
        minutes: That training may take.
        asked: Epochs asked for; the time has no effect then.
    """
    fill = f' (the first: {_time(time.first)})' if time.first > 1.2 * time.later else ''
    took = f'{_time(time.later)} an epoch{fill}, as measured on a few batches'
    if asked is not None:
        chosen.max_epochs = asked
        chosen.explain('epochs', asked, f'as asked for with --epochs; {took}: about {_time(time.of(asked))}')
        return
    fit = time.fitting(60 * minutes)
    if fit < chosen.max_epochs:
        wanted, chosen.max_epochs = chosen.max_epochs, max(1, fit)
        why = f'{took}; {wanted} would take {_time(time.of(wanted))}, and --minutes is {minutes:g}'
        chosen.explain('epochs', chosen.max_epochs, why)
    else:
        before = chosen.reasons['epochs'].why
        chosen.explain('epochs', chosen.max_epochs, f'{before}; {took}: about {_time(time.of(chosen.max_epochs))}')


def _workers() -> tuple[int, str]:
    if (problem := worker_problem()) is not None:
        return 0, f'other processes cannot be started here: {problem}'
    cores = cpu_count()
    number = min(4, cores) if cores > 1 else 0
    return number, f'{cores} core{"s" * (cores != 1)}'


def _time(seconds: float) -> str:
    """Seconds in words.

    >>> _time(3.14159), _time(200), _time(7300)
    ('3.1 s', '3.3 min', '2.0 h')
    """
    for unit, length in (('h', 3600), ('min', 60)):
        if seconds >= length:
            return f'{seconds / length:.1f} {unit}'
    return f'{seconds:.1f} s'
