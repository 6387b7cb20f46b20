"""A small dataset as files and as shards, and a store that counts what is read of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mmav.datasets import AVDataset
from mmav.preparation.checking import read_rows
from mmav.preparation.packing import pack

PIPELINE = [
    dict(type='LoadClip', num_frames=2, short_side=24),
    dict(type='RandomResizedCrop', size=16),
    dict(type='RandomFlip'),
    dict(type='LogMel', target_frames=16),
    dict(type='PackAVInputs'),
]
NUMBER = 23


class CountedFileSystem(MemoryFileSystem):
    """Files in memory, which workers have from a fork; each read is a line ``process file begin end`` of a file."""

    protocol = 'counted'
    store: dict = {}
    pseudo_dirs = ['']
    log: Path | None = None

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix('counted://'))

    def cat_file(self, path, start=None, end=None, **kwargs):
        data = super().cat_file(path, start=start, end=end, **kwargs)
        if self.log is not None and start is not None:  # not the index
            with open(self.log, 'a') as file:
                file.write(f'{os.getpid()} {path.rsplit("/", 1)[1]} {start} {start + len(data)}\n')
        return data


fsspec.register_implementation('counted', CountedFileSystem, clobber=True)


class Packed(NamedTuple):
    """A dataset: the folder of its files, and that of its shards."""

    root: Path
    out: Path

    def data(self, shards=None, **options) -> AVDataset:
        """The training set, from files or from shards."""
        options = dict(seed=0, max_broken_share=0.9) | options
        return AVDataset(
            'train.csv', PIPELINE, data_root=str(self.out if shards else self.root), shards=shards, **options
        )


@pytest.fixture(scope='session')
def packed(make_clip, tmp_path_factory) -> Packed:
    """23 clips of 4 kinds, in 3 shards in the order of the manifest; two rows are spans of one file."""
    root, out = tmp_path_factory.mktemp('files'), tmp_path_factory.mktemp('shards')
    (root / 'sub').mkdir()
    kinds = [make_clip(f'kind{k}.mp4', seconds=0.4 + 0.1 * k, size=(32, 48), numbered=True) for k in range(4)]
    rows = ['path,label,start,end']
    for k in range(NUMBER - 1):
        name = f'sub/c.{k}.mp4' if k % 2 else f'{k}.mp4'
        (root / name).write_bytes(kinds[k % 4].read_bytes())
        rows.append(f'{name},{"ab"[k % 2]},,')
    rows += ['0.mp4,b,0,0.2']
    (root / 'train.csv').write_text('\n'.join(rows) + '\n')
    (root / 'classes.txt').write_text('a\nb\n')
    sizes = sum((root / row.split(',')[0]).stat().st_size + 2048 for row in rows[1:-1])
    pack(root, out, [read_rows(str(root / 'train.csv'))], size=int(sizes / 2.6), jobs=1)
    assert len(list(out.glob('shards/*.tar'))) == 3
    return Packed(root, out)


@pytest.fixture
def counted(packed, tmp_path, monkeypatch, torch_home):
    """Address of the shards in a store that counts, and the file of its reads."""
    store = fsspec.filesystem('counted')
    for path in (packed.out / 'shards').glob('[!.]*'):
        store.pipe(f'/bucket/{path.name}', path.read_bytes())
    monkeypatch.setattr(CountedFileSystem, 'log', tmp_path / 'reads')
    yield 'counted://bucket', tmp_path / 'reads'
    CountedFileSystem.store.clear()
