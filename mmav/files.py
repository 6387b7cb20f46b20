"""Files that are written whole or not at all, and text that is read."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmav.errors import CheckpointError, ManifestError

# bytes that file systems grant a name, less what :func:`_temporary` adds to it
_LONGEST = 220
_TORN = re.compile(r'\..+\.\d+\.tmp')


@contextmanager
def written_whole(path: str | os.PathLike[str], *, finish: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Gives a name to write to, beside a file, which takes the file's place once all went well and is removed else.

    A link is followed, so that it stays a link.

    Args:
        path: The file; its folder is made if need be.
        finish: Called with the whole temporary file before it takes its place.

    Raises:
        OSError: The folder cannot be made, the file not be written.
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
    """Writes a file whole or not at all, see :func:`written_whole`; what is no file, such as /dev/stdout, as it comes.

    Raises:
        CheckpointError: The disk is full or the folder cannot be written; what stood there before is kept.
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


def read_text(path: str, what: str) -> str:
    """Reads a text file; ``what`` says in errors what it was to be.

    Raises:
        ManifestError: It is missing, cannot be read, or is not UTF-8 text.
    """
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            return file.read()
    except FileNotFoundError:
        folder, name = os.path.split(path)
        lost = f' (there is no folder {folder})' if folder and not os.path.isdir(folder) else ''
        raise ManifestError(f'no {what} at {path}{lost}; give the folder that holds {name} with --data-root') from None
    except UnicodeDecodeError as error:
        raise ManifestError(f'{path}: the {what} is not UTF-8 text ({error.reason}); save it as UTF-8') from error
    except OSError as error:
        raise ManifestError(f'{path}: the {what} cannot be read: {error.strerror}') from error


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a device or a pipe, which is written into and not replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def remove_torn_files(folder: str | Path, *, of: str = '*') -> None:
    """Removes the temporary files that a killed :func:`atomic_write` left in a folder, of all files or of one name."""
    for path in Path(folder).glob(f'.{of if of == "*" else glob.escape(of)}.*.tmp'):
        if _TORN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return path.with_name(f'.{name}.{os.getpid()}.tmp')
