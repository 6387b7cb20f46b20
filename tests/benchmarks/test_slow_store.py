"""The slow store counts what it is asked for, and gives the files' bytes."""

from __future__ import annotations

import fsspec
import pytest

from benchmarks.slow_store import PIECE, Delays, SlowFile, WholeFile, slow_files
from mmav.datasets.media.probe import probe


@pytest.fixture(autouse=True)
def delays(monkeypatch):
    for name, value in (('opening', 0.0), ('reading', 0.0), ('opened', 0), ('reads', 0)):
        monkeypatch.setattr(Delays, name, value)


def test_a_range_is_an_open_and_a_read(clip):
    data = clip.read_bytes()
    files, path = fsspec.url_to_fs(f'slow://{clip}')
    assert files.cat_file(path, start=10, end=30) == data[10:30] and files.size(path) == len(data)
    assert (Delays.opened, Delays.reads) == (1, 1)
    assert WholeFile(clip).read() == data and (Delays.opened, Delays.reads) == (2, 2)
    with SlowFile(str(clip)) as file:
        assert file.read_all() == len(data)
    assert (Delays.opened, Delays.reads) == (3, 2 + len(data) // PIECE + 2)


def test_readers_open_slow_files_and_get_the_same(clip):
    plain = probe(str(clip)).to_dict()
    assert Delays.reads == 0
    with slow_files():
        assert probe(str(clip)).to_dict() == plain
    assert Delays.opened >= 1 and Delays.reads >= 1
