"""The folder for uploads: private, locked while its server lives, and removed by the next server if that was killed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmav.errors import MmavError

PREFIX = 'mmav-serve-'


@contextmanager
def upload_folder() -> Iterator[str]:
    """A folder for uploads that nobody else may read, in the system's folder for temporary files (``TMPDIR``).

    Folders that killed servers of the same user have left there are removed.

    Raises:
        MmavError: It cannot be made.
    """
    try:
        remove_left_folders(tempfile.gettempdir())
        folder, lock = _locked_folder()
    except OSError as error:
        raise MmavError(
            f'no folder for uploads can be made: {error.strerror or error}; name another place with TMPDIR'
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def remove_left_folders(place: str) -> list[str]:
    """Removes the folders of servers that do not live any more; returns which.

    A server holds a lock on its folder, which the system drops with the process, however that ends: process numbers
    would be given again, and mean something else in another container. Where there are no locks, nothing is removed.

    Args:
        place: Where they lie. Only private folders of the user, and no links, are taken for such ones.
    """
    removed = []
    for found in sorted(Path(place).glob(f'{PREFIX}*')):
        with suppress(OSError):
            about = found.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_mode & 0o077 or not _is_mine(about):
                continue
            lock = _lock(found, wait=False)
            if lock is None:
                continue
            try:
                shutil.rmtree(found)
                removed.append(str(found))
            finally:
                os.close(lock)
    return removed


def _locked_folder() -> tuple[str, int]:
    """A new folder, and the descriptor that holds its lock; -1 where it cannot be locked."""
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        lock = _lock(folder, wait=True)
        if lock is None:
            return folder, -1
        # another server, which started just now, may have taken it for one that is left
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(folder), os.fstat(lock)):
                return folder, lock
        os.close(lock)


def _lock(folder: str | os.PathLike[str], *, wait: bool) -> int | None:
    """A descriptor that holds the folder's lock; None if another process has it, or the system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        if not wait:
            raise
        return os.open(os.devnull, os.O_RDONLY)  # gone already: not the folder, so another one is made
    try:
        fcntl.flock(held, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks
        os.close(held)
        return None
    return held


def _is_mine(about: os.stat_result) -> bool:
    return not hasattr(os, 'geteuid') or about.st_uid == os.geteuid()
