"""Where clips are kept, decoded or prepared: a folder in memory, which lives as long as it is used, or one on disk.

Files in a folder need no copy per process: data workers, forked and spawned, and the processes of a distributed run on
one machine read the same ones.
"""

from __future__ import annotations

import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from mmav.errors import ConfigError, did_you_mean

RAM = 'ram'
# of the cache of prepared clips
PREPARED = 'prepared'
SHARED_MEMORY = '/dev/shm'
# The share of free memory that clips may take: training needs some, too.
OF_MEMORY = 0.8
# Bytes that clips leave in any case.
RESERVE = 1 << 28
# A temporary file that nothing was written to for so many seconds was left by a killed process.
TORN = 3600.0
_CGROUPS = (
    ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory.current', '/sys/fs/cgroup/memory.stat'),
    (
        '/sys/fs/cgroup/memory/memory.limit_in_bytes',
        '/sys/fs/cgroup/memory/memory.usage_in_bytes',
        '/sys/fs/cgroup/memory/memory.stat',
    ),
)


class Room(NamedTuple):
    """How much fits.

    Attributes:
        free: Free bytes.
        usable: Those of them that clips may take.
        what: What is free.
    """

    free: int
    usable: int
    what: str


class Keeper(Protocol):
    """What keeps clips in a folder.

    Attributes:
        need: Bytes that it takes in all.
        kept: Bytes that it has stored, of each clip (N,); negative for none.
    """

    need: int
    kept: torch.Tensor


_keepers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


class CacheFolder:
    """A folder of decoded or prepared clips.

    Args:
        place: 'ram', or a folder, which is created.

    Raises:
        ConfigError: There is no shared memory, the folder cannot be written, or its name is nearly 'ram'.

    Attributes:
        path: The folder.
        in_memory: Whether it is in memory. It is then removed when the last process that uses it ends; what a killed
            process left is removed by the next one.
    """

    def __init__(self, place: str) -> None:
        if not hasattr(os, 'preadv'):
            raise ConfigError(f'cache={place!r} needs Linux or macOS; leave it out')
        if not place or not isinstance(place, str):  # such as cache=True in a config
            raise ConfigError(f"cache={place!r} is no place: give 'ram', 'prepared' or a folder, or leave it out")
        # a bare name only, so that there is a way to mean the folder
        near = '' if place == RAM or os.sep in place else did_you_mean(place.lower(), [RAM, PREPARED])
        if near and not os.path.exists(place):
            raise ConfigError(f"cache={place!r} is no folder{near} Write './{place}' for a new folder of this name")
        self.in_memory = place == RAM
        if self.in_memory:
            if not os.path.isdir(SHARED_MEMORY):
                raise ConfigError(f"cache='ram': this machine has no {SHARED_MEMORY}; give a folder on disk")
            self.path = os.path.join(SHARED_MEMORY, f'mmav-cache-{os.getuid()}')
        else:
            self.path = os.path.abspath(os.path.expanduser(place))
        self._hold()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != '_held'}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        # The parent of a data worker outlives it, and holds the folder for both.
        if parent_process() is None:
            self._hold()

    def room(self) -> Room:
        """How much fits."""
        space = shutil.disk_usage(self.path)
        if not self.in_memory:
            return Room(space.free, space.free - RESERVE, 'disk')
        memory = free_memory()
        usable = int(memory * OF_MEMORY) - RESERVE
        if space.free < usable:
            return Room(space.free, space.free, f'{SHARED_MEMORY} (a container: --shm-size=8g)')
        return Room(memory, usable, 'memory')

    def claim(self, keeper: Keeper) -> None:
        """Records what will take room here, for :meth:`promised`."""
        _keepers[keeper] = self.path

    def promised(self) -> int:
        """Bytes that the datasets of this process will still take here."""
        here = [keeper for keeper, path in _keepers.items() if path == self.path]
        return sum(max(0, keeper.need - int(keeper.kept.clamp(0).sum())) for keeper in here)

    def _hold(self) -> None:
        try:
            os.makedirs(self.path, mode=0o700 if self.in_memory else 0o777, exist_ok=True)
            if self.in_memory:
                if os.lstat(self.path).st_uid != os.getuid() or os.path.islink(self.path):
                    raise ConfigError(f"cache='ram': {self.path} belongs to another user; give a folder on disk")
                self._held = _Hold(self.path)
            elif not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, 'no permission to write')
            else:
                _remove_torn(self.path)
        except OSError as error:
            raise ConfigError(
                f'cache: {self.path} cannot be used: {error.strerror or error}; give another folder'
            ) from error


class _Hold:
    """Keeps a folder in memory from being removed: a lock, which ends with the process however it ends."""

    def __init__(self, path: str) -> None:
        import fcntl  # not on Windows

        while True:
            lock = os.open(os.path.join(path, '.lock'), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _empty(path)  # nobody uses what is there
            except BlockingIOError:
                pass
            fcntl.flock(lock, fcntl.LOCK_SH)
            # The last user may have removed the folder meanwhile.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(os.path.join(path, '.lock'))):
                    break
            os.close(lock)
            os.makedirs(path, mode=0o700, exist_ok=True)
        weakref.finalize(self, _release, lock, path, os.getpid())


def _release(lock: int, path: str, owner: int) -> None:
    """Removes a folder in memory if no other process uses it."""
    import fcntl

    if os.getpid() != owner:  # a fork
        return
    with suppress(OSError):
        # Of two that end together, one would otherwise see the other's lock, and neither would remove the folder.
        fcntl.flock(lock, fcntl.LOCK_UN)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _files(path: str) -> Iterator[Path]:
    return (file for file in Path(path).iterdir() if file.name != '.lock')


def _empty(path: str) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _remove_torn(path: str) -> None:
    for file in Path(path).glob('.*.clip.*.tmp'):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > TORN:
                file.unlink()


def size_of(number: int) -> str:
    """A number of bytes in words.

    >>> size_of(1_234_567_890), size_of(86_000_000)
    ('1.2 GB', '86 MB')
    """
    return f'{number / 1e9:.1f} GB' if number >= 1e9 else f'{-(-number // 1_000_000)} MB'


def free_memory() -> int:
    """Bytes of memory that this process may still use, of the machine's and of its container's."""
    free = []
    with suppress(OSError):
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        free.append(int(lines['MemAvailable'].split()[0]) * 1024)
    for limit, used, stat in _CGROUPS:
        with suppress(OSError, ValueError, KeyError):  # no limit is the word 'max'
            fields = dict(line.split() for line in Path(stat).read_text().splitlines())
            # Read files that are not in use now count as used.
            spare = int(Path(limit).read_text()) - int(Path(used).read_text())
            free.append(spare + int(fields.get('inactive_file', 0)))
    return max(0, min(free, default=os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')))
