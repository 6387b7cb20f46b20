"""How fast clips are read and prepared, step by step, beside bare decoding of the same frames and samples."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmav.datasets.transforms import LoadClip
from mmav.errors import ConfigError, MediaError, MmavError
from mmav.registry import DATASETS, FUNCTIONS

from .bare_decoding import bare_decode
from .speed_report import ClipTimes, Measurement, resident_memory

Clock = Callable[[], float]


def build_dataset(loader: Mapping[str, Any], *, clip: str | Path | None = None, folder: str | Path = '') -> Any:
    """The dataset of a dataloader's config, or one that gives a single clip again and again.

    Args:
        loader: Config of a dataloader; not changed.
        clip: A media file in place of the config's manifest.
        folder: Where the manifest of that one clip is written.

    Raises:
        ConfigError: The dataset is of a kind that is not made of a manifest and a pipeline.
        MmavError: Its manifest or class list cannot be read.
    """
    init_default_scope('mmav')
    config = dict(loader['dataset'])
    if 'ann_file' not in config or 'pipeline' not in config:
        raise ConfigError(f'dataset of type {config.get("type")!r}: one with ann_file and pipeline can be measured')
    if clip is not None:
        classes = config.get('classes')
        columns = list(classes) if isinstance(classes, Mapping) else ['label']
        names = ('clip',)
        manifest = Path(folder) / 'one_clip.csv'
        row = [f'"{Path(clip).resolve()}"', *['0'] * len(columns)]
        manifest.write_text(f'path,{",".join(columns)}\n{",".join(row)}\n', encoding='utf-8')
        config.update(
            ann_file=str(manifest), data_root='', indices=None, max_broken_share=1.0,
            classes=dict.fromkeys(columns, names) if isinstance(classes, Mapping) else names,
        )  # fmt: skip
    return DATASETS.build(config)


def build_collate(loader: Mapping[str, Any]) -> Callable[[Sequence[Any]], Any]:
    """The collate function of a dataloader's config, as MMEngine's Runner builds it."""
    config = dict(loader.get('collate_fn') or {})
    if not config:
        return pseudo_collate
    kind = config.pop('type')
    return partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **config)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets PyTorch and OpenCV use one thread, as a worker of a DataLoader does."""
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
    clock: Clock = time.perf_counter,
    progress: bool = True,
) -> Measurement:
    """Times the steps of a dataset's pipeline and, after each clip, bare decoding of what it read.

    Clips are taken in order; behind the last one begins another epoch. ``collate`` is given one clip at a time.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: What makes a batch of packed clips.
        clips: How many clips are measured; broken ones are counted, not replaced.
        warm_up: How many clips are read before.
        clock: What tells the time in seconds; ``time.process_time`` for the processor's, on a machine that is busy.
        progress: Whether a bar is shown.

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


def time_clip(
    steps: Sequence[Any],
    collate: Callable[[Sequence[Any]], Any],
    results: dict[str, Any],
    clock: Clock = time.perf_counter,
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
    """Reads through a real DataLoader whose batches are thrown away.

    The clock starts when each worker has given two batches; what they hold ready then they hold ready at the end, too.

    Args:
        dataset: Such as :class:`mmav.datasets.AVDataset`.
        collate: What makes a batch of packed clips.
        workers: Processes that read.
        batch_size: Clips of a batch.
        clips: How many clips are read with the clock running, at least; rounded up to whole batches.
        progress: Whether a bar is shown.

    Returns:
        ``clips_per_second``, ``clips`` read, ``broken`` (how many different clips could not be read and were replaced),
        and ``memory_bytes``: resident memory of this process and of all workers when the clock starts and at the end.
    """
    warm_up, batches = 2 * workers, -(-clips // batch_size)
    # One batch more than is read for each that workers fetch ahead, so that they are busy until the clock stops.
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
    """Of this process and of its workers together."""
    sizes = [resident_memory(child.pid) for child in multiprocessing.active_children() if child.pid]
    return dict(main=resident_memory(), workers=sum(size for size in sizes if size is not None) or None)
