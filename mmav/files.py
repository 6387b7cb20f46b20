"""Files: written whole or not at all, read as text, and their checksums."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mmav.errors import CheckpointError, ManifestError

# bytes that file systems grant a name, less what :func:`_temporary` adds to it
_LONGEST = 220
_TORN = re.compile(r'\..+\.\d+\.tmp')


@contextmanager
def written_whole(path: str | os.PathLike[str], *, finish: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yields the name of a temporary file, which replaces the file if the body succeeds and is removed if it does not.

    Links are followed, so that they stay links.

    Args:
        path: The file; its folder is created if it is missing.
        finish: Called with the complete temporary file before it replaces the other one.

    Raises:
        OSError: The folder cannot be created, or the file cannot be written.
    """
    real = Path(os.path.realpath(path))
    real.parent.mkdir(parents=True, exist_ok=True)
    part = _temporary(real)
    try:
        yield part
        with open(part, 'rb+') as file:
            os.fsync(file.fileno())
        if finish is not None:
            finish(part)
        os.replace(part, real)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if os.name == 'posix':  # the rename itself is durable only once the folder is on disk
        folder = os.open(real.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def atomic_write(path: str | os.PathLike[str], data: bytes, *, finish: Callable[[Path], None] | None = None) -> None:
    """Writes a file whole or not at all, see :func:`written_whole`; devices such as /dev/stdout are written directly.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; an earlier file is kept.
    """
    try:
        if is_stream(path):
            with open(path, 'wb') as file:
                file.write(data)
            return
        with written_whole(path, finish=finish) as part:
            part.write_bytes(data)
    except OSError as error:
        raise CheckpointError(f"cannot write '{path}': {error.strerror or error}; earlier files are kept") from error


def read_text(path: str | os.PathLike[str], what: str, *, remedy: str | None = None) -> str:
    """Reads a UTF-8 text file, with or without a byte-order mark; its line ends become ``\\n``.

    Args:
        path: The file.
        what: Its purpose, for errors.
        remedy: What to do if it is missing; defaults to naming its folder with ``--data-root``.

    Raises:
        ManifestError: It is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        return Path(path).expanduser().read_text(encoding='utf-8-sig')
    except FileNotFoundError:
        folder, name = os.path.split(path)
        lost = f' (there is no folder {folder})' if folder and not os.path.isdir(os.path.expanduser(folder)) else ''
        remedy = remedy or f'give the folder that holds {name} with --data-root'
        raise ManifestError(f'no {what} at {path}{lost}; {remedy}') from None
    except UnicodeDecodeError as error:
        raise ManifestError(f'{path}: the {what} is not UTF-8 text ({error.reason}); save it as UTF-8') from error
    except OSError as error:
        raise ManifestError(f'{path}: the {what} cannot be read: {error.strerror}') from error


def digest_of(path: str | os.PathLike[str], new: Callable[[], Any] = hashlib.sha256) -> str:
    """The checksum of a file, as hexadecimal digits.

    Args:
        path: The file.
        new: Makes a hash object of hashlib.
    """
    digest = new()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return str(digest.hexdigest())


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a device or a pipe, which is written to rather than replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def remove_torn_files(folder: str | Path, *, of: str = '*') -> None:
    """Removes temporary files that a killed :func:`atomic_write` left in a folder: all, or those of one name."""
    for path in Path(folder).glob(f'.{of if of == "*" else glob.escape(of)}.*.tmp'):
        if _TORN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return path.with_name(f'.{name}.{os.getpid()}.tmp')
