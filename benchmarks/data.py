"""How fast clips are read and prepared, step by step, beside bare decoding of the same frames and samples."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmarks.clips import bare_decode
from benchmarks.machine import resident_memory
from mmav import tables
from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError, MmavError

# what a step belongs to; a user's own steps are 'other'
PART_OF = dict(
    LoadClip='decode',
    **dict.fromkeys(
        ('Resize', 'CenterCrop', 'RandomResizedCrop', 'RandomFlip', 'RandAugment', 'ColorJitter', 'RandomErasing'),
        'video transforms',
    ),
    **dict.fromkeys(('LogMel', 'DeviceLogMel', 'AudioViews', 'SpecAugment'), 'audio front end'),
    PackAVInputs='pack',
    collate='collate',
)
PARTS = ('decode', 'video transforms', 'audio front end', 'pack', 'collate', 'other')


@dataclass(frozen=True)
class ClipTimes:
    """Times of one clip.

    Attributes:
        steps: Name of a step -> seconds, in the order of the pipeline; ``collate`` is the last.
        bare: Seconds of bare decoding of the same frames and samples.
    """

    steps: dict[str, float]
    bare: float

    @property
    def total(self) -> float:
        """Seconds from the manifest row to the batch: the sum of the steps, which follow each other without a gap."""
        return sum(self.steps.values())


@dataclass
class Measurement:
    """What was measured of all clips.

    Attributes:
        clips: Times of each clip after the warm-up.
        broken: Clips that could not be read; they are not in ``clips``.
        memory: Resident memory in bytes after the warm-up and at the end; None if the system does not report it.
    """

    clips: list[ClipTimes] = field(default_factory=list)
    broken: int = 0
    memory: tuple[int | None, int | None] = (None, None)

    def summary(self) -> dict[str, Any]:
        """All figures, in milliseconds, shares and ratios.

        Means of the steps add up to the mean of the total; medians may not. Ratios are medians of the clips' ratios.
        """
        names = list(self.clips[0].steps)
        steps = {name: np.array([clip.steps[name] for clip in self.clips]) for name in names}
        total, bare = (np.array([getattr(clip, key) for clip in self.clips]) for key in ('total', 'bare'))
        parts = {part: sum(steps[n] for n in names if _part(n) == part) for part in PARTS}
        decode = np.asarray(parts['decode'])
        return dict(
            clips=len(self.clips),
            broken=self.broken,
            clips_per_second_per_worker=float(1 / total.mean()),
            steps_ms={name: _figures(values) for name, values in steps.items()},
            parts_ms={part: _figures(values) for part, values in parts.items() if isinstance(values, np.ndarray)},
            total_ms=_figures(total),
            bare_decoding_ms=_figures(bare),
            data_path_to_bare=float(np.median(total / bare)),
            load_clip_to_bare=float(np.median(decode / bare)),
            audio_front_end_share=float(np.mean(parts['audio front end']) / total.mean()),
            memory_bytes=dict(after_warm_up=self.memory[0], at_end=self.memory[1]),
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits PyTorch and OpenCV to one thread, as in a worker of a DataLoader."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def measure_steps(
    dataset: Any,
    collate: Callable[[Sequence[Any]], Any],
    *,
    clips: int,
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    progress: bool = True,
) -> Measurement:
    """Times the steps of a dataset's pipeline and, after each clip, bare decoding of what it read.

    Clips are read in order, epoch after epoch; ``collate`` gets one clip at a time.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: Makes a batch of packed clips.
        clips: How many clips are measured; broken ones are counted, not replaced.
        warm_up: How many clips are read before.
        clock: Returns the time in seconds; ``time.process_time`` for CPU time, on a busy machine.
        progress: Whether to show a progress bar.

    Raises:
        MmavError: None of the clips can be read.
    """
    result, last_error = Measurement(), None
    with one_thread():
        for k in tqdm(range(warm_up + clips), desc='clips', disable=not progress, leave=False):
            if k == warm_up:
                result.memory = (resident_memory(), None)
            epoch, index = divmod(k, len(dataset))
            rng = np.random.default_rng((dataset.seed, epoch, index))
            try:
                info = {**dataset.get_data_info(index), 'rng': rng}
                times = time_clip(dataset.pipeline.transforms, collate, info, clock)
            except MediaError as error:
                result.broken, last_error = result.broken + (k >= warm_up), error
                continue
            if k >= warm_up:
                result.clips.append(times)
    result.memory = (result.memory[0], resident_memory())
    if not result.clips:
        raise MmavError(f'none of {clips} clips can be read' + (f'; the last: {last_error}' if last_error else ''))
    return result


def measure_prepared(
    dataset: Any,
    collate: Callable[[Sequence[Any]], Any],
    *,
    batch_size: int,
    clips: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Times batches of a dataset that keeps prepared clips, once all are there.

    Args:
        dataset: An :class:`mmav.datasets.AVDataset` with ``cache='prepared'``.
        collate: Makes a batch of packed clips.
        batch_size: Clips per batch.
        clips: How many clips to read at least; rounded up to whole batches.
        clock: Returns the time in seconds.

    Returns:
        ``prepared_ms``, milliseconds a clip, collating included, and ``clips``.
    """
    dataset.prepared.fill()
    batches = -(-clips // batch_size)
    with one_thread():
        begin = clock()
        for k in range(batches):
            collate([dataset[i % len(dataset)] for i in range(k * batch_size, (k + 1) * batch_size)])
        seconds = clock() - begin
    return dict(prepared_ms=seconds / (batches * batch_size) * 1e3, clips=batches * batch_size)


def time_clip(
    steps: Sequence[Any],
    collate: Callable[[Sequence[Any]], Any],
    results: dict[str, Any],
    clock: Callable[[], float] = time.perf_counter,
) -> ClipTimes:
    """Times each step on one clip, and bare decoding.

    Raises:
        MediaError: The clip cannot be read, or bare decoding of it fails.
    """
    loaded: dict[str, Any] = {}
    path, modalities, load = results['path'], results['modalities'], None
    names: list[str] = []
    marks = [clock()]
    for step in steps:
        results = step(results)
        if isinstance(step, LoadClip):
            load, loaded = step, {key: results.get(key) for key in ('frame_times', 'start', 'end', 'masks')}
        name = type(step).__name__
        names.append(name if name not in names else f'{name} {len(names)}')
        marks.append(clock())
    collate([results])
    marks.append(clock())
    del results
    if load is None:
        raise ConfigError('the pipeline has no LoadClip: there is nothing to compare with bare decoding')
    has = {name: name in modalities and loaded['masks'][name] for name in ('video', 'audio')}
    begin = clock()
    try:
        bare_decode(
            path,
            loaded['frame_times'] if has['video'] else None,
            (loaded['start'], loaded['end']) if has['audio'] else None,
            short_side=load.short_side,
            sample_rate=load.sample_rate,
        )
    except (av.FFmpegError, IndexError, ValueError, TypeError) as error:
        raise MediaError(path, f'bare decoding fails on it: {error}') from error
    bare = clock() - begin
    return ClipTimes(dict(zip([*names, 'collate'], np.diff(marks).tolist(), strict=True)), bare)


def measure_loader(
    dataset: Any,
    collate: Callable[[Sequence[Any]], Any],
    *,
    workers: int,
    batch_size: int,
    clips: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Reads batches from a DataLoader and discards them.

    The clock starts when each worker has delivered two batches; workers are as far ahead then as at the end.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: Makes a batch of packed clips.
        workers: Processes that read.
        batch_size: Clips per batch.
        clips: How many clips to read at least while the clock runs; rounded up to whole batches.
        progress: Whether to show a progress bar.

    Returns:
        ``clips_per_second``, ``clips`` read, ``broken`` (how many different clips could not be read and were replaced),
        and ``memory_bytes``: resident memory of this process and of all workers when the clock starts and at the end.
    """
    warm_up, batches = 2 * workers, -(-clips // batch_size)
    # as many more batches as workers prefetch, so that they are busy until the clock stops
    rows = [k % len(dataset) for k in range(batch_size * (2 * warm_up + batches))]
    memory: dict[str, Any] = {}
    with one_thread():
        loader = DataLoader(dataset, batch_size, sampler=rows, num_workers=workers, collate_fn=collate)
        iterator, begin = iter(loader), 0.0
        for k in tqdm(range(warm_up + batches), desc=f'batches of {batch_size}', disable=not progress, leave=False):
            if k == warm_up:
                memory['after_warm_up'], begin = _memory_of_all(), time.perf_counter()
            next(iterator)
        seconds = time.perf_counter() - begin
        memory['at_end'] = _memory_of_all()
        del iterator, loader
    return dict(
        workers=workers,
        batch_size=batch_size,
        clips=batches * batch_size,
        broken=dataset.broken_count(),
        clips_per_second=batches * batch_size / seconds,
        memory_bytes=memory,
    )


def _memory_of_all() -> dict[str, int | None]:
    """Resident memory of this process and of all its workers."""
    sizes = [resident_memory(child.pid) for child in multiprocessing.active_children() if child.pid]
    return dict(main=resident_memory(), workers=sum(size for size in sizes if size is not None) or None)


def steps_text(summary: Mapping[str, Any]) -> str:
    """A table of :meth:`Measurement.summary` for a terminal, in milliseconds per clip."""
    mean = summary['total_ms']['mean']
    rows = [['step', 'part', 'median ms', 'mean ms', 'share']]

    def add(name: str, part: str, figures: Mapping[str, float]) -> None:
        times = [f'{figures[key]:.2f}' for key in ('median', 'mean')]
        rows.append([name, part, *times, f'{figures["mean"] / mean:.1%}'])

    for name, figures in summary['steps_ms'].items():
        add(name, _part(name), figures)
    for part, figures in summary['parts_ms'].items():
        add('sum', part, figures)
    add('total', '', summary['total_ms'])
    add('bare decoding', '', summary['bare_decoding_ms'])
    return '\n'.join(
        [
            tables.text_table(rows, left=2),
            f'data path / bare decoding  {summary["data_path_to_bare"]:.2f}',
            f'LoadClip / bare decoding   {summary["load_clip_to_bare"]:.2f}',
            f'audio front end            {summary["audio_front_end_share"]:.1%} of a clip',
            f'one worker                 {summary["clips_per_second_per_worker"]:.2f} clips/s',
            f'clips                      {summary["clips"]} measured, {summary["broken"]} broken',
            f'memory                     {_memory(summary["memory_bytes"])}',
        ]
    )


def loader_text(loader: Mapping[str, Any]) -> str:
    """What :func:`measure_loader` found, for a terminal."""
    read = f'{loader["clips"]} clips in batches of {loader["batch_size"]}, {loader["broken"]} broken'
    speed = f'{loader["clips_per_second"]:.2f} clips/s with {loader["workers"]} workers'
    lines = [f'DataLoader                 {speed}; {read}']
    for name in ('main', 'workers'):
        sizes = {when: memory[name] for when, memory in loader['memory_bytes'].items()}
        lines.append(f'memory of {name:<17}{_memory(sizes)}')
    return '\n'.join(lines)


def _memory(sizes: Mapping[str, int | None]) -> str:
    first, last = (sizes[when] for when in ('after_warm_up', 'at_end'))
    if first is None or last is None:
        return 'not known on this system'
    return f'{tables.size(first, "MiB")} after the warm-up, {tables.size(last, "MiB")} at the end'


def _part(step: str) -> str:
    return PART_OF.get(step.split(' ')[0], 'other')


def _figures(seconds: np.ndarray) -> dict[str, float]:
    return dict(median=float(np.median(seconds) * 1e3), mean=float(np.mean(seconds) * 1e3))
