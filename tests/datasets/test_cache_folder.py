from __future__ import annotations

import gc
import os
import pickle
import time

import pytest

from mmav.datasets import cache_folder
from mmav.datasets.cache_folder import CacheFolder, free_memory, size_of
from mmav.errors import ConfigError


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """Stands in for /dev/shm."""
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'shm'))
    (tmp_path / 'shm').mkdir()
    return tmp_path / 'shm'


def in_a_fork(action):
    """Runs something in another process that ends without tidying up."""
    if not (child := os.fork()):
        action()
        os._exit(0)
    os.waitpid(child, 0)


def test_memory_is_free_once_nobody_uses_it(memory):
    one, other = CacheFolder('ram'), CacheFolder('ram')
    assert one.in_memory and one.path == other.path and os.stat(one.path).st_mode & 0o777 == 0o700
    (memory / os.path.basename(one.path) / 'a.clip').write_bytes(b'1')
    in_a_fork(gc.collect)
    del one
    assert os.listdir(other.path) and len(list(memory.iterdir())) == 1
    del other
    assert not list(memory.iterdir())


def test_what_a_killed_process_left_is_removed(memory):
    def leave():
        folder = CacheFolder('ram')
        with open(os.path.join(folder.path, 'a.clip'), 'wb') as file:
            file.write(b'1')
        os._exit(9)

    in_a_fork(leave)
    (path,) = memory.iterdir()
    assert (path / 'a.clip').is_file()
    folder = CacheFolder('ram')
    assert folder.path == str(path) and not (path / 'a.clip').exists()
    in_a_fork(leave)  # the folder is in use now
    assert (path / 'a.clip').is_file()


@pytest.mark.parametrize('name', ['RAM', 'Ram', 'rma'])
def test_a_misspelt_ram_is_no_new_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"cache='{name}' is no folder, did you mean 'ram'\\? Write './{name}' for"):
        CacheFolder(name)
    assert not list(tmp_path.iterdir())
    assert CacheFolder(f'./{name}').path == CacheFolder(name).path == str(tmp_path / name)


@pytest.mark.parametrize('place', ['', True])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(ConfigError, match=f"cache={place!r} is no place: give 'ram', 'prepared' or a folder"):
        CacheFolder(place)


def test_a_folder_on_disk_stays(tmp_path):
    folder = CacheFolder(str(tmp_path / 'new' / 'cache'))
    (tmp_path / 'new' / 'cache' / 'mine.txt').write_text('')
    old, young = (tmp_path / 'new' / 'cache' / f'.{name}.clip.{os.getpid()}.tmp' for name in ('old', 'young'))
    for file in (old, young):
        file.write_bytes(b'')
    os.utime(old, (0, time.time() - 2 * cache_folder.TORN))
    again = pickle.loads(pickle.dumps(CacheFolder(folder.path)))
    assert not again.in_memory and again.path == folder.path
    assert sorted(os.listdir(folder.path)) == [young.name, 'mine.txt']
    room = folder.room()
    assert room.what == 'disk' and 0 < room.usable < room.free


def test_places_that_cannot_be_used(tmp_path, memory, monkeypatch):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='file/cache cannot be used: Not a directory'):
        CacheFolder(str(tmp_path / 'file' / 'cache'))
    with monkeypatch.context() as patch:
        patch.setattr(os, 'access', lambda *args: False)  # root may write anywhere
        with pytest.raises(ConfigError, match='cannot be used: no permission to write'):
            CacheFolder(str(tmp_path))
    (memory / f'mmav-cache-{os.getuid()}').symlink_to(tmp_path)
    with pytest.raises(ConfigError, match='belongs to another user; give a folder on disk'):
        CacheFolder('ram')
    monkeypatch.setattr(cache_folder, 'SHARED_MEMORY', str(tmp_path / 'none'))
    with pytest.raises(ConfigError, match="cache='ram': this machine has no .*none; give a folder on disk"):
        CacheFolder('ram')


def test_the_room_in_memory(memory, monkeypatch):
    folder = CacheFolder('ram')
    monkeypatch.setattr(cache_folder, 'free_memory', lambda: 10 << 30)
    monkeypatch.setattr(
        cache_folder.shutil, 'disk_usage', lambda path: cache_folder.shutil._ntuple_diskusage(0, 0, 9 << 30)
    )
    room = folder.room()
    assert room.what == 'memory' and room.free == 10 << 30 and 7 << 30 < room.usable < 8 << 30
    monkeypatch.setattr(
        cache_folder.shutil, 'disk_usage', lambda path: cache_folder.shutil._ntuple_diskusage(0, 0, 64 << 20)
    )
    assert folder.room().free == 64 << 20 and '--shm-size' in folder.room().what


def test_a_container_has_its_own_limit(tmp_path, monkeypatch):
    whole = free_memory()
    assert whole > 1 << 20
    names = limit, used, stat = tmp_path / 'max', tmp_path / 'current', tmp_path / 'stat'
    monkeypatch.setattr(cache_folder, '_CGROUPS', (tuple(map(str, names)),))
    limit.write_text('1000000\n')
    used.write_text('900000\n')
    stat.write_text('anon 5\ninactive_file 300000\n')
    assert free_memory() == 400_000
    limit.write_text('max\n')
    assert free_memory() > 1 << 20


def test_sizes_in_words():
    assert [size_of(number) for number in (0, 1, 999_000_000, 1_000_000_000)] == ['0 MB', '1 MB', '999 MB', '1.0 GB']
