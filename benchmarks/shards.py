"""How fast a worker gets clips from shards, beside single files: from this machine's disk and from a slow store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, SequentialSampler

from benchmarks.clips import build_collate
from benchmarks.data import one_thread
from benchmarks.measure import quartiles, time_in_turn
from benchmarks.slow_store import SCHEME, Delays, SlowFile, WholeFile, slow_files
from mmav.datasets import ShardSampler
from mmav.datasets.shards.index import SHARDS
from mmav.preparation.checking import read_rows
from mmav.preparation.packing import pack
from mmav.registry import DATASETS
from mmav.structures import as_given, as_parts
from mmav.tables import text_table

FILES, LOCAL = 'files', 'shards'
SLOW, WHOLE = 'slow store: files', 'slow store: files, each in one read'
ONE, BATCH, FORWARD = 'slow store: shards, a read at a time', 'slow store: shards', 'slow store: shards, read forward'
# of the same store, so that ratios are to its files
BESIDE = {LOCAL: FILES, WHOLE: SLOW, ONE: SLOW, BATCH: SLOW, FORWARD: SLOW}
STAGES = ('bytes', 'clips')


class Source(NamedTuple):
    """A way to read clips: the dataset, a sampler or None for the manifest's order, and how files are opened."""

    dataset: Any
    sampler: Any
    around: Callable[[], AbstractContextManager[None]]


def write_folder(folder: Path, clip: Path, clips: int) -> None:
    """Writes a dataset of copies of one clip, and packs it in four shards."""
    folder.mkdir()
    names = [f'{k:05d}{clip.suffix}' for k in range(clips)]
    for name in names:
        shutil.copyfile(clip, folder / name)
    (folder / 'train.csv').write_text('path,label\n' + ''.join(f'{name},0\n' for name in names))
    size = clips * (clip.stat().st_size + 2048) // 4 + 4096
    pack(folder, folder, [read_rows(str(folder / 'train.csv'))], size=size, jobs=1)


def sources(loader: Mapping[str, Any], folder: Path, *, batch_size: int) -> dict[str, Source]:
    """The ways to read a folder of :func:`write_folder`.

    Args:
        loader: Config of a dataloader, whose pipeline is used.
        folder: The folder.
        batch_size: Clips of a batch.
    """
    init_default_scope('mmav')
    classes = as_given(dict.fromkeys(as_parts((loader['dataset']).get('classes')), ('clip',)))

    def dataset(shards: str | None) -> Any:
        config = dict(
            loader['dataset'], ann_file='train.csv', data_root=str(folder), classes=classes, indices=None, shards=shards
        )
        return DATASETS.build(config)

    def forward(of: Any) -> ShardSampler:
        return ShardSampler(of, seed=0, buffer=batch_size * 2, batch_size=batch_size, num_workers=0)

    whole, one = dataset(None), dataset(f'{SCHEME}://{folder / SHARDS}')
    rows = whole.get_data_info
    whole.get_data_info = lambda index: dict(rows(index), path=WholeFile(rows(index)['path']))
    one.fetch = lambda indices: None
    address = f'{SCHEME}://{folder / SHARDS}'
    read_forward = dataset(address)
    return {
        FILES: Source(dataset(None), None, nullcontext),
        LOCAL: Source(dataset(SHARDS), None, nullcontext),
        SLOW: Source(dataset(None), None, slow_files),
        WHOLE: Source(whole, None, nullcontext),
        ONE: Source(one, None, nullcontext),
        BATCH: Source(dataset(address), None, nullcontext),
        FORWARD: Source(read_forward, forward(read_forward), nullcontext),
    }


def read_bytes(name: str, source: Source, batch_size: int) -> None:
    """Reads the bytes of all clips, and nothing more."""
    dataset = source.dataset
    order = list(source.sampler or range(len(dataset)))
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        dataset.fetch(batch)
        for index in batch:
            path = dataset.get_data_info(index)['path']
            if name == SLOW:
                with SlowFile(path) as file:
                    file.read_all()
            elif name == FILES:
                Path(path).read_bytes()
            else:
                pool = getattr(index, 'pool', None)
                (path.within(pool) if pool else path).read()


def read_clips(source: Source, batch_size: int, collate: Callable[[Sequence[Any]], Any]) -> None:
    """Reads all clips as one worker does, batch by batch."""
    sampler = source.sampler or SequentialSampler(source.dataset)
    with source.around():
        for _ in DataLoader(source.dataset, batch_size, sampler=sampler, collate_fn=collate):
            pass


def measure(
    loader: Mapping[str, Any],
    folder: Path,
    clip: Path,
    *,
    clips: int,
    rounds: int,
    batch_size: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures all ways in turn, in one thread.

    Args:
        loader: Config of a dataloader.
        folder: Where copies of the clip are written; removed at the end.
        clip: The clip.
        clips: Copies of it.
        rounds: How often each way reads them all.
        batch_size: Clips of a batch.
        progress: Whether to show a progress bar.

    Returns:
        Stage (``bytes``, or ``clips`` through the pipeline) -> way -> ``clips_per_second``, and ``ratio`` to the files
        of the same store: quartiles of rounds.
    """
    write_folder(folder, clip, clips)
    collate, found = build_collate(loader), sources(loader, folder, batch_size=batch_size)
    ways: dict[tuple[str, str], Callable[[], Any]] = {}
    for name, source in found.items():
        ways['bytes', name] = lambda name=name, source=source: read_bytes(name, source, batch_size)  # type: ignore[misc]
        ways['clips', name] = lambda source=source: read_clips(source, batch_size, collate)  # type: ignore[misc]
    with one_thread():
        seconds = time_in_turn(ways, rounds, progress=progress)
    shutil.rmtree(folder)
    result: dict[str, Any] = dict(clip_bytes=clip.stat().st_size, clips=clips, batch_size=batch_size, rounds=rounds)
    for stage in STAGES:
        result[stage] = {}
        for name in found:
            times = np.array(seconds[stage, name])
            result[stage][name] = dict(clips_per_second=quartiles((clips / times).tolist()))
            if name in BESIDE:
                ratios = np.array(seconds[stage, BESIDE[name]]) / times
                result[stage][name]['ratio'] = quartiles(ratios.tolist())
    return result


def as_text(result: Mapping[str, Any]) -> str:
    """The figures as a table."""
    rows = [('clips a second of one worker', *(each for stage in STAGES for each in (stage, 'to files')))]
    for name in result[STAGES[0]]:
        cells = []
        for stage in STAGES:
            figures = result[stage][name]
            ratio = figures.get('ratio')
            cells.append(f'{figures["clips_per_second"]["median"]:.1f}')
            cells.append('' if ratio is None else f'{ratio["median"]:.2f} ({ratio["low"]:.2f}-{ratio["high"]:.2f})')
        rows.append((name, *cells))
    about = (
        f'clips of {result["clip_bytes"] / 1e6:.2f} MB, batches of {result["batch_size"]}; the slow store takes '
        f'{Delays.opening * 1e3:g} ms an open and {Delays.reading * 1e3:g} ms a read'
    )
    return f'{about}\n{text_table(rows)}'
