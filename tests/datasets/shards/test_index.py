"""An index of shards: found by name, mapped into memory, and refused where it is not whole."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from mmav.datasets.shards import index as module
from mmav.datasets.shards.index import IndexBuilder, ShardIndex, hash_names, joined, open_index
from mmav.errors import ConfigError, MmavError

NAMES = ['b/2.mp4', 'a.mp4', 'ä/ß.wav', 'a', 'x' * 300]


def build(names=NAMES, per_shard=2) -> bytes:
    builder = IndexBuilder('s3://there')
    for k, name in enumerate(names):
        if k % per_shard == 0:
            builder.add_shard(f'{k // per_shard}.tar', 1000 + k)
        builder.add(name, 512 * k, 10 + k, 2**32 - 1 - k)
    return builder.finish()


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'shards.index').write_bytes(build())
    return str(tmp_path / 'shards.index')


def test_what_was_built_is_found(path):
    index = ShardIndex(path)
    assert len(index) == 5 and index.source == 's3://there'
    assert [(shard.name, shard.size, shard.first) for shard in index.shards] == [
        ('0.tar', 1000, 0),
        ('1.tar', 1002, 2),
        ('2.tar', 1004, 4),
    ]
    for k, name in enumerate(NAMES):
        assert index.find(name) == k and index.name(k) == name
        assert index.place(k) == (k // 2, 512 * k, 10 + k, 2**32 - 1 - k)
    assert index.find('b') == index.find('') == -1
    assert index.find_all(*joined(['a', 'none', 'a.mp4'])).tolist() == [3, -1, 1]


def test_it_is_the_same_file_in_other_processes(path):
    index = open_index(path)
    data = pickle.dumps(index)
    assert len(data) < 400 and pickle.loads(data) is index
    Path(path).write_bytes(build(NAMES[:3]))
    with pytest.raises(MmavError, match='was replaced while it was in use'):
        pickle.loads(data)


def test_hashes_do_not_depend_on_the_names_around_them(monkeypatch):
    names = [f'{k}/{"y" * (k % 7)}.mp4' for k in range(1000)]
    hashes = hash_names(*joined(names))
    assert len(set(hashes.tolist())) == 1000
    monkeypatch.setattr(module, '_CHUNK', 64)
    assert (hash_names(*joined(names)) == hashes).all()
    assert (hash_names(*joined(reversed(names)))[::-1] == hashes).all()


def test_no_clips_at_all(tmp_path):
    (tmp_path / 'i').write_bytes(IndexBuilder().finish())
    index = ShardIndex(str(tmp_path / 'i'))
    assert len(index) == 0 and index.find('a') == -1


def test_two_clips_of_one_name_are_refused(monkeypatch):
    with pytest.raises(MmavError, match="two clips of the shards are named 'a'"):
        build(['a', 'b', 'a'])
    monkeypatch.setattr(module, 'hash_names', lambda blob, ends: np.ones(len(ends), np.uint64))
    with pytest.raises(MmavError, match="'a' and 'b' have the same hash"):
        build(['a', 'b'])


def test_a_missing_and_a_damaged_index(path, tmp_path):
    with pytest.raises(ConfigError, match='no index of shards at .*make-shards'):
        open_index(str(tmp_path / 'none'))
    whole = Path(path).read_bytes()
    head = bytearray(whole)
    head[40] ^= 1
    for data, why in (
        (whole[:-1], 'bytes, not'),
        (bytes(head), 'head is damaged'),
        (b'PK', 'no whole'),
        (b'', 'empty'),
    ):
        Path(path).write_bytes(data)
        with pytest.raises(MmavError, match=why):
            ShardIndex(path)
