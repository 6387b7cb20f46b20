"""How many data workers keep GPUs busy: what a clip costs, as the config is and in other ways, and what it comes to."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from tqdm import tqdm

from benchmarks.clips import build_collate, build_dataset
from benchmarks.data import one_thread
from mmav import tables
from mmav.config.device_steps import MOVABLE, move_to_device
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.errors import ConfigError
from mmav.threads import cpu_count

# more workers than the mean needs: clips differ, and a worker at its full share of a core is late half of the time
MARGIN = 0.25
# ways are measured in turn, so that what slows the machine down slows all of them
ROUNDS = 4
SHARED = Path('/dev/shm')
AS_IT_IS, DEVICE = 'as it is', 'steps on the device'
PREPARED, CACHED, KEPT = 'prepare_media.py', '--cache DIR', '--cache prepared'


@dataclass
class Way:
    """One way to read the clips of a config.

    Attributes:
        name: In words.
        dataset: That is read so.
        collate: Makes a batch of packed clips.
        seconds: Those of each clip that was measured.
    """

    name: str
    dataset: Any
    collate: Callable[[Sequence[Any]], Any]
    seconds: list[float]


def ways_of(cfg: Config, split: str, folder: Path, clip: str | None = None) -> Iterator[Way | str]:
    """The ways that apply to a config, and lines about them, such as why one does not apply.

    Args:
        cfg: The config; not changed.
        split: 'train', 'val' or 'test'.
        folder: For files that are made for it.
        clip: A media file to read instead of the config's manifest.
    """

    def way(name: str, config: Config, file: str | None, **options: Any) -> Way:
        loader = copy.deepcopy(config[f'{split}_dataloader'])
        loader.dataset.update(options)
        place = folder / f'{len(list(folder.iterdir()))}'
        place.mkdir()
        return Way(name, build_dataset(loader, clip=file, folder=place), build_collate(loader), [])

    yield way(AS_IT_IS, cfg, clip)
    moved, why = copy.deepcopy(cfg), ''
    names: list[str] = []
    for name in MOVABLE if split == 'train' else MOVABLE[1:]:
        attempt = copy.deepcopy(moved)
        try:
            move_to_device(attempt, [name])
        except ConfigError as error:
            why = str(error)
        else:
            moved, names = attempt, [*names, name]
    if names:
        yield way(DEVICE, moved, clip)
        yield f'{DEVICE}: --on-device {" ".join(names)}, or the same in the config'
    else:
        yield f'{DEVICE}: {why}'
    if clip is None:
        yield f'{PREPARED}: measured with --clip or --generated only'
    else:
        small = str(folder / 'prepared.mp4')
        transcode(clip, small, TranscodeOptions())
        yield way(PREPARED, cfg, small)
        if names:
            yield way(f'{PREPARED}, {DEVICE}', moved, small)
    yield way(CACHED, cfg, clip, cache=str(folder / 'cache'))
    if names:
        yield way(f'{CACHED}, {DEVICE}', moved, clip, cache=str(folder / 'cache_device'))
    try:
        yield way(KEPT, cfg, clip, cache=f'prepared:{folder / "kept"}')
    except ConfigError as error:
        yield f'{KEPT}: {str(error).replace(str(folder / "kept"), "DIR")}'
    yield 'shards: help where opening a file takes long, and cost the same otherwise; not measured here'


def measure_ways(
    ways: Sequence[Way], *, clips: int, clock: Callable[[], float] = time.perf_counter, progress: bool = True
) -> None:
    """Times clips from the manifest row to a batch of one, in one thread; each way reads as many.

    A clip that cannot be read is replaced by another one, as in training.

    Args:
        ways: Their ``seconds`` are filled.
        clips: Of each way, after as many that fill its cache.
        clock: Returns the time in seconds.
        progress: Whether to show a progress bar.
    """
    rows = range(clips)
    with one_thread(), tqdm(total=2 * clips * len(ways), desc='ways', disable=not progress, leave=False) as bar:
        for way in ways:
            for k in rows:
                way.collate([way.dataset[k % len(way.dataset)]])
                bar.update()
        for turn in range(ROUNDS):
            for way in ways:
                for k in rows[turn::ROUNDS]:
                    # other windows and crops than those that filled the cache
                    way.dataset.set_epoch(1 + k // len(way.dataset))
                    begin = clock()
                    way.collate([way.dataset[k % len(way.dataset)]])
                    way.seconds.append(clock() - begin)
                    bar.update()


def bytes_of_clip(way: Way) -> int:
    """What a clip takes in a batch."""
    inputs = way.collate([way.dataset[0]])['inputs']
    return sum(value.numel() * value.element_size() for value in inputs.values())


def plan(
    seconds: Mapping[str, float],
    *,
    gpus: int,
    step_time: float,
    batch_size: int,
    clip_bytes: int = 0,
    prefetch: int = 2,
    cores: int | None = None,
    shared: int | None = None,
) -> dict[str, Any]:
    """What it takes to keep GPUs busy, in each way.

    On each GPU a process trains and keeps a core busy; its workers read ``batch_size`` clips in ``step_time``, with
    ``MARGIN`` to spare.

    Args:
        seconds: Way -> seconds of a core for a clip; the first is the config as it is.
        gpus: Training processes.
        step_time: Seconds of a training step that waits for nothing.
        batch_size: Clips of a step on each GPU.
        clip_bytes: Of a clip in a batch.
        prefetch: Batches that a worker reads ahead.
        cores: Of this machine; those that this process may use, if None.
        shared: Bytes free in shared memory, through which workers hand batches over; those of this machine if None.

    Returns:
        All arguments; ``ways``, each with its numbers; ``enough``, the names of those this machine has the cores for;
        ``verdict``, one line.
    """
    cores = cpu_count() if cores is None else cores
    if shared is None:
        shared = shutil.disk_usage(SHARED).free if SHARED.is_dir() else 0
    rate = batch_size / step_time
    ways = []
    for name, cost in seconds.items():
        workers = max(math.ceil(round(rate * cost * (1 + MARGIN), 6)), 1)
        ahead = workers * gpus * prefetch * batch_size * clip_bytes
        ways.append(
            dict(
                name=name,
                ms=1e3 * cost,
                workers_per_gpu=workers,
                workers=workers * gpus,
                cores=(workers + 1) * gpus,
                prefetched_bytes=ahead,
                fits_cores=(workers + 1) * gpus <= cores,
                fits_memory=ahead <= shared,
            )
        )
    found = dict(
        gpus=gpus,
        step_time=step_time,
        batch_size=batch_size,
        clips_per_second=rate * gpus,
        margin=MARGIN,
        cores=cores,
        clip_bytes=clip_bytes,
        prefetch=prefetch,
        shared_bytes=shared,
        ways=ways,
        enough=[way['name'] for way in ways if way['fits_cores'] and way['fits_memory']],
    )
    return {**found, 'verdict': _verdict(found)}


def _verdict(found: Mapping[str, Any]) -> str:
    own = found['ways'][0]
    needs = f'{found["gpus"]} GPUs need {own["workers"]} workers ({own["workers_per_gpu"]} a GPU), {own["cores"]} cores'
    if own['name'] in found['enough']:
        return f'enough: {needs}; this machine has {found["cores"]}'
    lacks = f'this machine has {found["cores"]}'
    if own['fits_cores']:
        free = tables.size(found['shared_bytes'], 'GiB', 1)
        lacks += f', but {free} of shared memory for {tables.size(own["prefetched_bytes"], "GiB", 1)} of batches'
    least = min(found['ways'], key=lambda way: (way['cores'], way['ms']))
    if found['enough']:
        way = next(way for way in found['ways'] if way['name'] in found['enough'])
        return f'not enough: {needs}; {lacks}; enough with {way["name"]}: {way["workers"]} workers'
    if least is own:
        return f'not enough: {needs}; {lacks}; no way that was measured takes fewer'
    fewest = f'{least["workers"]} workers, {least["cores"]} cores'
    return f'not enough: {needs}; {lacks}; fewest with {least["name"]}: {fewest}'


def plan_text(found: Mapping[str, Any], others: Sequence[str] = ()) -> str:
    """What :func:`plan` returned, for a terminal.

    Args:
        found: The plan.
        others: Lines on ways that were not measured.
    """
    rows = [['way', 'ms a clip', 'workers a GPU', 'workers', 'cores', 'read ahead']]
    rows += [
        [
            way['name'],
            f'{way["ms"]:.1f}',
            str(way['workers_per_gpu']),
            str(way['workers']),
            str(way['cores']),
            tables.size(way['prefetched_bytes'], 'GiB', 1),
        ]
        for way in found['ways']
    ]
    head = (
        f'{found["gpus"]} GPUs, {found["batch_size"]} clips each in {found["step_time"]:g} s: '
        f'{found["clips_per_second"]:.1f} clips/s; workers with {found["margin"]:.0%} to spare, and a core for each '
        f'training process; {found["prefetch"]} batches read ahead by each worker, in shared memory'
    )
    return '\n'.join([head, tables.text_table(rows), *others, f'verdict: {found["verdict"]}'])


def check_numbers(gpus: int | None, step_time: float | None, batch_size: int | None) -> None:
    """Checks the arguments of the tool.

    Raises:
        ConfigError: One lacks, has no effect, or is no such number.
    """
    if gpus is None:
        for name, value in {'--step-time': step_time, '--batch-size': batch_size}.items():
            if value is not None:
                raise ConfigError(f'{name} {value:g} has no effect without --gpus')
        return
    if step_time is None:
        raise ConfigError(f'--gpus {gpus} needs --step-time, the seconds of a training step that waits for no data')
    if gpus < 1 or not 0 < step_time < math.inf or (batch_size is not None and batch_size < 1):
        size = '' if batch_size is None else f' --batch-size {batch_size}'
        raise ConfigError(f'--gpus {gpus} --step-time {step_time:g}{size}: give numbers above 0')


def plan_workers(
    cfg: Config,
    split: str,
    folder: str | Path,
    *,
    clip: str | None,
    clips: int,
    clock: Callable[[], float] = time.perf_counter,
    **numbers: Any,
) -> tuple[dict[str, Any], list[str]]:
    """Measures the ways of a config and plans with each.

    Args:
        cfg: The config; not changed.
        split: Whose dataloader.
        folder: For files that are made for it.
        clip: As in :func:`ways_of`.
        clips: How many clips each way reads.
        clock: Returns the time in seconds.
        **numbers: ``gpus``, ``step_time`` and ``batch_size`` of :func:`plan`; the last may be None, for the config's.

    Returns:
        The plan, and lines on ways, among them those that were not measured.
    """
    place = Path(folder) / 'ways'
    place.mkdir()
    found = list(ways_of(cfg, split, place, clip))
    ways = [each for each in found if isinstance(each, Way)]
    measure_ways(ways, clips=clips, clock=clock)
    loader = cfg[f'{split}_dataloader']
    size = numbers.pop('batch_size') or loader.get('batch_size', 1)
    planned = plan(
        {way.name: sum(way.seconds) / len(way.seconds) for way in ways},
        batch_size=size,
        clip_bytes=bytes_of_clip(ways[0]),
        prefetch=loader.get('prefetch_factor') or 2,
        **numbers,
    )
    stored = sum(file.stat().st_size for file in (place / 'cache').rglob('*') if file.is_file())
    kept = stored / min(clips, len(ways[0].dataset))
    notes = [f'{CACHED}: {tables.size(kept, "MB")} a clip on disk, measured from memory']
    return planned, [*notes, *(each for each in found if isinstance(each, str))]
