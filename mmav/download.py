"""Downloads to torch's cache: whole or not at all, verified, and once however many processes ask."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

import torch
from mmengine.logging import print_log
from tqdm import tqdm

from mmav.errors import CheckpointError
from mmav.files import digest_of, remove_torn_files, written_whole
from mmav.weight_files import why_no_weights

TIMEOUT = 60.0  # seconds without an answer
_CHUNK = 1 << 18
_LONGEST_STEM, _LONGEST_SUFFIX = 150, 16
# characters that an address may hold as they are; also %, as it may be quoted already
_UNQUOTED = "%/:=&?~#+!$,;'@()*[]"
_SHOWN = 12  # digits of a checksum in a message


def cache_folder() -> Path:
    """Where torch keeps downloaded weights: ``checkpoints`` in ``torch.hub.get_dir()``, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def path_in(address: str) -> str:
    """The path in an address, without escapes.

    Raises:
        CheckpointError: It is not an address.

    >>> path_in('https://host/a%20b/model.pth?dl=1')
    '/a b/model.pth'
    """
    try:
        return unquote(urlsplit(address).path)
    except ValueError as error:
        raise CheckpointError(
            f"'{address}' is not an address ({error}): give it as a browser shows it, or a path"
        ) from error


def cached_name(address: str) -> str:
    """Name in the cache for the file at an address.

    Addresses with the same end, such as ``.../a/model.safetensors`` and ``.../b/model.safetensors``, have different
    names.

    >>> cached_name('https://host/a/model.pth?dl=1'), cached_name('https://host/b/model.pth?dl=1')
    ('model-424f20a4.pth', 'model-012776c9.pth')

    Raises:
        CheckpointError: It is not an address.
    """
    path = Path(path_in(address))
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    suffix = path.suffix if len(path.suffix) < _LONGEST_SUFFIX else ''
    # file systems limit the bytes of a name, and those of the lock and the temporary file are longer
    stem = path.stem.encode()[:_LONGEST_STEM].decode(errors='ignore')
    return f'{stem or "file"}-{mark}{suffix}'


def fetch(address: str, target: Path, *, sha256: str = '', name: str = '') -> Path:
    """Downloads a file unless it exists.

    One process downloads, with a progress bar on stderr; others that want the same file, on this machine or on machines
    that share the folder, wait for it. If that process is killed, the others go on, and no partial file is taken for
    the file. If the file system cannot lock, each process downloads for itself.

    Args:
        address: ``http://`` or ``https://``.
        target: Path of the file.
        sha256: Its checksum or the first digits of it; empty to skip the check.
        name: The user's name of it, for messages; defaults to the address.

    Returns:
        ``target``.

    Raises:
        CheckpointError: There is no network, the server has no such file or sends a web page, the file is cut off or
            has another checksum, or it cannot be written; nothing is left of it. Or an existing file has another
            checksum; it is kept.
    """
    try:
        if target.is_file():
            return _checked(target, sha256)
    except OSError as error:
        raise CheckpointError(
            f"cannot read '{target}' ({error.strerror or error}): remove it, or make it readable"
        ) from error
    try:
        with _alone(target) as locked:
            if target.is_file():  # another process has downloaded it
                return _checked(target, sha256)
            if locked:
                remove_torn_files(target.parent, of=target.name)
            with (
                written_whole(target, finish=lambda part: _judge(part, address, sha256)) as part,
                open(part, 'wb') as file,
            ):
                _receive(address, target, file, name or address)
    except OSError as error:
        raise CheckpointError(
            f"cannot write '{target}' ({error.strerror or error}): set TORCH_HOME to a folder that can be written to"
        ) from error
    return target


def _receive(address: str, target: Path, file: IO[bytes], name: str) -> None:
    chunks = _chunks(address, target, name)
    _, total = next(chunks)  # the bar begins once there is an answer
    with tqdm(desc=target.name, total=total, unit='B', unit_scale=True, unit_divisor=1024, mininterval=0.5) as bar:
        for chunk, _ in chunks:
            file.write(chunk)
            bar.update(len(chunk))


def _chunks(address: str, target: Path, name: str) -> Iterator[tuple[bytes, int | None]]:
    """The chunks that a server sends, an empty one first, and the length that it promises; errors are one line."""
    received = 0
    try:
        # spaces and non-ASCII characters are quoted as a browser does
        request = Request(quote(address, safe=_UNQUOTED), headers={'User-Agent': 'mmav'})
        with urlopen(request, timeout=TIMEOUT) as answer:
            if answer.headers.get_content_type() == 'text/html':
                raise _Refused('the server sends a web page, not a file')
            length = answer.headers.get('Content-Length')
            total = int(length) if length and length.isdecimal() else None
            yield b'', total
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                yield chunk, total
            # http.client does not notice that the end comes too early
            if total is not None and received < total:
                raise _Refused(f'the connection broke after {received} of {total} bytes')
    except (OSError, HTTPException, ValueError, _Refused) as error:
        raise CheckpointError(
            f"cannot download '{name}' ({_why(error)}): get {address} on a machine with a network, "
            f'and put it there: {target}'
        ) from error


class _Refused(Exception):
    """The server's answer is not the file."""


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f'the server answers {error.code} {" ".join(str(error.reason).split())}'
    if isinstance(error, URLError):
        reason = error.reason
        return f'no connection: {getattr(reason, "strerror", None) or reason}'
    if isinstance(error, TimeoutError):
        return f'the server was silent for {TIMEOUT:g} s'
    return ' '.join(str(error).split()) or type(error).__name__


def _judge(part: Path, address: str, sha256: str) -> None:
    """Refuses a download that is not the file."""
    what = why_no_weights(part)
    if what:
        raise CheckpointError(f'{address} is {what}, not weights: nothing is kept; give the address of the file')
    digest = digest_of(part)
    if not digest.startswith(sha256):
        raise CheckpointError(
            f'{address} has the sha256 {digest[:_SHOWN]}..., published is {sha256[:_SHOWN]}...: it was damaged on its '
            'way or changed; nothing is kept'
        )


def _checked(target: Path, sha256: str) -> Path:
    state = target.stat()
    if sha256 and not (digest := _remembered(target, state.st_size, state.st_mtime_ns)).startswith(sha256):
        raise CheckpointError(
            f"'{target}' has the sha256 {digest[:_SHOWN]}..., published is {sha256[:_SHOWN]}...: remove it to download "
            'it again'
        )
    return target


@lru_cache
def _remembered(path: Path, size: int, changed: int) -> str:
    return digest_of(path)


@contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """Holds the lock of a file, which the system releases if the process is killed; yields whether it could lock."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f'.{target.name}.lock')
    while True:
        with open(path, 'a') as lock:
            try:
                _take(lock, target.name)
            except OSError:
                with suppress(OSError):
                    path.unlink()
                yield False
                return
            # whoever held the lock has removed its file: newcomers would lock another one
            if not _is_at(lock, path):
                continue
            try:
                yield True
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def _take(lock: IO[str], name: str) -> None:
    try:
        import fcntl
    except ImportError as error:  # Windows
        raise OSError('this system cannot lock files') from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if os.environ.get('LOCAL_RANK', '0') == '0':
            print_log(f'Waiting for another process that downloads {name}', 'current')
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
