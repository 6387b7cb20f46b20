"""What a list of millions of clips costs: seconds until a dataset and its workers are ready, and memory of all of them.

No media file is read: a stub takes the place of the pipeline, so that all that is measured is the list, its sampler and
the processes.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmarks.machine import proportional_memory, resident_memory
from mmav import tables
from mmav.datasets import AVDataset, ResumableSampler
from mmav.errors import MediaError
from mmav.preparation.annotations import read_labels

# columns of a list -> its labels: one a clip as VGGSound's, any number as AudioSet's, verb and noun as EPIC-KITCHENS'
KINDS = ('one', 'several', 'verb-noun')
SAMPLERS = ('DefaultSampler', 'ShuffledSampler', 'InfiniteSampler', 'ClassBalancedSampler')
_ID = np.frombuffer(b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_', dtype=np.uint8)
_CHUNK = 65_536
_FEW = 1000  # clips of the list that bare processes read
VERBS, NOUNS = 97, 300


class Stub:
    """A pipeline of one step, which gives the place of a clip and its labels.

    Args:
        broken: Share of the clips that cannot be read.
    """

    def __init__(self, broken: float = 0.0) -> None:
        self.broken = broken

    def __call__(self, results: dict[str, Any]) -> torch.Tensor:
        """Gives (2,): the row of a clip and how many labels it has."""
        row = results['sample_idx']
        # a share of the rows, spread as a hash is
        if row * 2_654_435_761 % 2**32 < self.broken * 2**32:
            raise MediaError(results['path'], 'broken for this measurement')
        return torch.tensor([row, sum(np.size(each) for each in results['label'].values())])


def write_list(path: Path, rows: int, kind: str, *, seed: int = 0, progress: bool = True) -> dict[str, Any]:
    """Writes a manifest of made-up clips, whose classes are as unequal as AudioSet's.

    Args:
        path: The manifest.
        rows: Number of clips.
        kind: One of :data:`KINDS`.
        seed: Of the names and labels.
        progress: Whether to show a progress bar.

    Returns:
        Arguments of an AVDataset: ``classes`` and ``multi_label``.
    """
    rng, names = np.random.default_rng(seed), read_labels('audioset')
    quoted = np.array([f'"{name}"' if ',' in name else name for name in names])
    chances = 1 / (np.arange(len(names)) + 3.0)
    chances /= chances.sum()
    headers = {'one': 'path,label', 'several': 'path,label,start,end', 'verb-noun': 'path,verb,noun,start,end'}
    with open(path, 'w', encoding='utf-8') as file:
        file.write(f'{headers[kind]}\n')
        for begin in tqdm(range(0, rows, _CHUNK), desc='rows', disable=not progress, leave=False):
            number = min(_CHUNK, rows - begin)
            ids = [row.tobytes().decode() for row in _ID[rng.integers(64, size=(number, 11))]]
            starts = rng.integers(0, 300, number)
            drawn = rng.choice(len(names), (number, 6), p=chances)
            if kind == 'one':
                lines = (f'clips/{i[:2]}/{i}.mp4,{quoted[k]}\n' for i, k in zip(ids, drawn[:, 0], strict=True))
            elif kind == 'several':
                # 2.7 labels a clip on average
                counts = rng.choice([1, 2, 3, 4, 5, 6], number, p=[0.2, 0.3, 0.27, 0.12, 0.08, 0.03])
                cells = ('|'.join({names[k] for k in row[:n]}) for row, n in zip(drawn, counts, strict=True))
                lines = (
                    f'clips/{i[:2]}/{i}.mp4,"{cell}",{start},{start + 10}\n'
                    for i, cell, start in zip(ids, cells, starts.tolist(), strict=True)
                )
            else:
                verbs, nouns = drawn[:, 0] % VERBS, drawn[:, 1] % NOUNS
                ends = starts + rng.integers(50, 900, number) / 100
                lines = (
                    f'P{k % 37:02d}/P{k % 37:02d}_{k % 20:02d}.MP4,{verb},{noun},{start:.2f},{end:.2f}\n'
                    for k, (verb, noun, start, end) in enumerate(
                        zip(verbs.tolist(), nouns.tolist(), starts.tolist(), ends.tolist(), strict=True), begin
                    )
                )
            file.writelines(lines)
    if kind == 'verb-noun':
        classes: Any = dict(verb=[f'verb {k}' for k in range(VERBS)], noun=[f'noun {k}' for k in range(NOUNS)])
        return dict(classes=classes, multi_label=False)
    return dict(classes=names, multi_label=kind == 'several')


def measure_list(
    folder: Path,
    *,
    rows: int,
    kind: str = 'several',
    workers: int = 4,
    start_method: str = 'fork',
    sampler: Mapping[str, Any] | None = None,
    batches: int = 2000,
    batch_size: int = 64,
    broken: float = 0.0,
    progress: bool = True,
) -> dict[str, Any]:
    """Measures start and memory of a generated list, beside those of the same processes with a list of a few clips.

    Args:
        folder: Where to write the lists.
        rows: Number of clips.
        kind: One of :data:`KINDS`.
        workers: Processes that read.
        start_method: 'fork' or 'spawn'.
        sampler: Config of the sampler; a shuffling DefaultSampler if None.
        batches: How many batches are read.
        batch_size: Clips of a batch.
        broken: Share of the clips that cannot be read, each replaced by another.
        progress: Whether to show progress bars.

    Returns:
        ``seconds``: of the dataset, the sampler, and the first batch, workers' start included; ``clips_per_second``;
        ``memory_bytes``: in bare processes, after the first batches and at the end, as :func:`memory` gives it; and
        the ``peak_bytes`` of resident memory of this process up to the first batch.
    """
    few, many = (folder / f'{name}.csv' for name in ('few', 'many'))
    write_list(few, min(rows, _FEW), kind, progress=False)
    options = write_list(many, rows, kind, progress=progress)
    sampler = dict(sampler or dict(type='DefaultSampler', shuffle=True))

    def loader(path: Path) -> tuple[DataLoader[Any], dict[str, float]]:
        marks = [time.perf_counter()]
        pipeline = [Stub(broken)]
        dataset = AVDataset(str(path), pipeline, max_broken_share=1.0 if broken else 0.1, **options)
        marks.append(time.perf_counter())
        order = ResumableSampler(dataset, sampler, seed=0)
        marks.append(time.perf_counter())
        context = start_method if workers else None
        data = DataLoader(dataset, batch_size, sampler=order, num_workers=workers, multiprocessing_context=context)
        return data, dict(zip(('dataset', 'sampler'), np.diff(marks).tolist(), strict=True))

    data, _ = loader(few)
    with _batches(data) as iterator:
        next(iterator)
        bare = memory()
    del data
    gc.collect()
    data, seconds = loader(many)
    begin, at_start = time.perf_counter(), {}
    with _batches(data) as iterator:
        read = 0
        for k in tqdm(range(batches), desc=f'batches of {batch_size}', disable=not progress, leave=False):
            batch = next(iterator, None)
            if batch is None:
                break
            read += len(batch)
            if k == 0:
                seconds['first batch'] = time.perf_counter() - begin
                peak = resident_memory(peak=True)
            if k == min(2 * workers, batches - 1):
                at_start = memory()
                begin, before = time.perf_counter(), read
        speed = (read - before) / (time.perf_counter() - begin) if read > before else None
        at_end = memory()
    return dict(
        rows=rows,
        kind=kind,
        workers=workers,
        start_method=start_method,
        sampler=sampler,
        clips=read,
        list_bytes=many.stat().st_size,
        seconds=dict(seconds, all=sum(seconds.values())),
        clips_per_second=speed,
        memory_bytes=dict(bare=bare, at_start=at_start, at_end=at_end),
        peak_bytes=peak,
    )


def memory() -> dict[str, int | None]:
    """Memory of this process and of all its workers: pages that several share count as a part of each."""
    workers = [proportional_memory(child.pid) for child in multiprocessing.active_children() if child.pid]
    return dict(main=proportional_memory(), workers=sum(size or 0 for size in workers))


@contextmanager
def _batches(data: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Reads from a data loader; its workers have ended afterwards."""
    iterator: Any = iter(data)
    try:
        yield iterator
    finally:
        if hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()


def list_text(result: Mapping[str, Any]) -> str:
    """What :func:`measure_list` found, for a terminal."""
    known = result['memory_bytes']['bare']['main'] is not None
    rows = [['memory, MB', 'main', 'workers', 'together', 'more than bare']]
    totals = {when: sum(each.values()) for when, each in result['memory_bytes'].items()} if known else {}
    for when, each in result['memory_bytes'].items() if known else ():
        cells = (each['main'], each['workers'], totals[when], totals[when] - totals['bare'])
        rows.append([when.replace('_', ' '), *(f'{cell / 1e6:.0f}' for cell in cells)])
    seconds = ', '.join(f'{name} {value:.2f} s' for name, value in result['seconds'].items())
    size, peak = (tables.size(result[key], 'MB') for key in ('list_bytes', 'peak_bytes'))
    speed = result['clips_per_second']
    return '\n'.join(
        [
            f'{result["rows"]:,} clips, labels: {result["kind"]}, a file of {size}',
            f'{result["workers"]} workers, {result["start_method"]}; sampler: {result["sampler"]["type"]}',
            f'ready: {seconds}',
            f'read: {result["clips"]:,} clips' + (f', {speed:,.0f} a second' if speed else ''),
            tables.text_table(rows) if known else 'memory is not known on this system',
            f'peak of the main process up to the first batch: {peak}',
        ]
    )
