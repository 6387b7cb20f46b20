"""Bytes of shards from files, addresses and commands, and what happens where there are none."""

from __future__ import annotations

import os
import pickle

import fsspec
import pytest

from mmav.datasets.shards import stores
from mmav.datasets.shards.stores import ShardAddress, ShardFiles, ShardPipe, open_store
from mmav.errors import ConfigError

DATA = bytes(range(256)) * 10


@pytest.fixture
def places(tmp_path):
    """The same two shards in a folder, at an address, and printed by a command."""
    memory = fsspec.filesystem('memory')
    for name in ('a.tar', "it's b.tar"):
        (tmp_path / name).write_bytes(DATA)
        memory.pipe(f'/stores/{name}', DATA)
    yield dict(files=str(tmp_path), address='memory://stores/', pipe=f'pipe:cat {tmp_path}/{{}}')
    memory.rm('/stores', recursive=True)


def test_files_and_addresses_give_the_same(places):
    for place, kind in ((places['files'], ShardFiles), (places['address'], ShardAddress)):
        store = pickle.loads(pickle.dumps(open_store(place)))
        assert type(store) is kind and not store.is_forward
        assert store.read('a.tar', 100, 50) == DATA[100:150] and store.read('a.tar', 2550, 50) == DATA[2550:]
        assert store.size('a.tar') == len(DATA) and store.names() == {'a.tar', "it's b.tar"}
        with store.open("it's b.tar") as file:
            assert file.read() == DATA
        assert store.where('a.tar') == f'{place.rstrip("/")}/a.tar'
        for read in (lambda s=store: s.read('no.tar', 0, 1), lambda s=store: s.size('no.tar')):
            with pytest.raises(FileNotFoundError):
                read()


def test_without_pread(places, monkeypatch):
    monkeypatch.delattr(os, 'pread', raising=False)
    assert open_store(places['files']).read('a.tar', 100, 50) == DATA[100:150]


def test_a_command_prints_them(places):
    store = pickle.loads(pickle.dumps(open_store(places['pipe'])))
    assert type(store) is ShardPipe and store.is_forward
    for name in ('a.tar', "it's b.tar"):
        with store.open(name) as file:
            assert file.read(100) + file.read() == DATA
    with store.open('a.tar') as file:
        file.read(10)  # and no more: the command is ended
    with store.open('no.tar') as file, pytest.raises(OSError, match='pipe:cat .*no.tar ended with status 1'):
        file.read()


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, '_OPEN_FILES', 2)
    store = ShardFiles(str(tmp_path))
    for k in range(4):
        (tmp_path / f'{k}').write_bytes(bytes([k]) * 9)
    before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else None
    for k in (0, 1, 2, 3, 0, 0):
        assert store.read(str(k), 3, 2) == bytes([k]) * 2
    assert len(store._open) == 2
    del store
    assert before is None or len(os.listdir('/proc/self/fd')) == before


def test_a_place_that_cannot_be_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match='nothing:// is no kind of address'):
        open_store('nothing://x')
    with pytest.raises(ConfigError, match='write {} where the name'):
        open_store('pipe:cat x')
    # the package for it is not installed
    monkeypatch.setattr(fsspec, 'url_to_fs', lambda address: (_ for _ in ()).throw(ImportError('Install s3fs')))
    with pytest.raises(ConfigError, match='s3://bucket: Install s3fs'):
        open_store('s3://bucket')
