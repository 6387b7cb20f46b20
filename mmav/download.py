"""Files from the network in torch's cache: whole or not at all, checked, and each once however many processes ask."""

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

# seconds that a server may keep silent
PATIENCE = 60.0
_CHUNK = 1 << 18
_LONGEST_STEM, _LONGEST_SUFFIX = 150, 16
# what an address may hold as it is, a % among it, as it may be quoted already
_UNQUOTED = "%/:=&?~#+!$,;'@()*[]"
_SHOWN = 12  # digits of a checksum in a message


def cache_folder() -> Path:
    """Where torch keeps downloaded weights: ``checkpoints`` in ``torch.hub.get_dir()``, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()) / 'checkpoints'


def path_in(address: str) -> str:
    """The path in an address, without escapes.

    Raises:
        CheckpointError: It is no address.

    >>> path_in('https://host/a%20b/model.pth?dl=1')
    '/a b/model.pth'
    """
    try:
        return unquote(urlsplit(address).path)
    except ValueError as error:
        raise CheckpointError(
            f"'{address}' is no address ({error}): give it as a browser shows it, or a path"
        ) from error


def cached_name(address: str) -> str:
    """Name in the cache for a file of any address.

    Addresses that end alike, such as ``.../a/model.safetensors`` and ``.../b/model.safetensors``, have different names.

    >>> cached_name('https://host/a/model.pth?dl=1'), cached_name('https://host/b/model.pth?dl=1')
    ('model-424f20a4.pth', 'model-012776c9.pth')

    Raises:
        CheckpointError: It is no address.
    """
    path = Path(path_in(address))
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    suffix = path.suffix if len(path.suffix) < _LONGEST_SUFFIX else ''
    # file systems count bytes, and the lock and the temporary file add to the name
    stem = path.stem.encode()[:_LONGEST_STEM].decode(errors='ignore')
    return f'{stem or "file"}-{mark}{suffix}'


def fetch(address: str, target: Path, *, sha256: str = '', name: str = '') -> Path:
    """Brings a file into its place, unless it is there.

    One process downloads, with a progress bar on the standard error; others that want the same file, of this machine or
    of machines that share the folder, wait for it. One that is killed holds nobody up and leaves nothing that could be
    taken for the file. Where file systems cannot lock, each process downloads for itself.

    Args:
        address: ``http://`` or ``https://``.
        target: Where it belongs.
        sha256: Its checksum or the first digits of it; not checked where empty.
        name: What a user calls it, for messages; the address if empty.

    Returns:
        ``target``.

    Raises:
        CheckpointError: There is no network, the server has no such file, what it sends is cut off, a web page or not
            what the checksum says, or the place cannot be written. Nothing is left of it then. Or a file that is there
            already does not have the checksum; it is left alone.
    """
    try:
        if target.is_file():
            return _checked(target, sha256)
    except OSError as error:
        raise CheckpointError(
            f"cannot read '{target}' ({error.strerror or error}): remove it, or let it be read"
        ) from error
    try:
        with _alone(target) as locked:
            if target.is_file():  # another process has brought it
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
    """What a server sends, nothing at first, and how much it promises in all; what is wrong becomes one line."""
    received = 0
    try:
        # blanks and other scripts, as a browser sends them
        request = Request(quote(address, safe=_UNQUOTED), headers={'User-Agent': 'mmav'})
        with urlopen(request, timeout=PATIENCE) as answer:
            if answer.headers.get_content_type() == 'text/html':
                raise _Refused('the server sends a web page, not a file')
            length = answer.headers.get('Content-Length')
            total = int(length) if length and length.isdecimal() else None
            yield b'', total
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                yield chunk, total
            # http.client takes an end before its time for the end
            if total is not None and received < total:
                raise _Refused(f'the connection broke after {received} of {total} bytes')
    except (OSError, HTTPException, ValueError, _Refused) as error:
        raise CheckpointError(
            f"cannot download '{name}' ({_why(error)}): get {address} on a machine with a network, "
            f'and put it there: {target}'
        ) from error


class _Refused(Exception):
    """An answer that is not the file."""


def _why(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f'the server answers {error.code} {" ".join(str(error.reason).split())}'
    if isinstance(error, URLError):
        reason = error.reason
        return f'no connection: {getattr(reason, "strerror", None) or reason}'
    if isinstance(error, TimeoutError):
        return f'the server was silent for {PATIENCE:g} s'
    return ' '.join(str(error).split()) or type(error).__name__


def _judge(part: Path, address: str, sha256: str) -> None:
    """Refuses what was downloaded if it is not the file."""
    what = why_no_weights(part)
    if what:
        raise CheckpointError(f'{address} gives {what}, not weights: nothing is kept; give the address of the file')
    digest = digest_of(part)
    if not digest.startswith(sha256):
        raise CheckpointError(
            f'{address} gives a file with the sha256 {digest[:_SHOWN]}..., published is {sha256[:_SHOWN]}...: it was '
            'damaged on its way or changed; nothing is kept'
        )


def _checked(target: Path, sha256: str) -> Path:
    state = target.stat()
    if sha256 and not (digest := _remembered(target, state.st_size, state.st_mtime_ns)).startswith(sha256):
        raise CheckpointError(
            f"'{target}' has the sha256 {digest[:_SHOWN]}..., published is {sha256[:_SHOWN]}...: remove it, so that "
            'it is downloaded anew'
        )
    return target


@lru_cache
def _remembered(path: Path, size: int, changed: int) -> str:
    return digest_of(path)


@contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """Holds the lock of a file, which the system takes from a process that is killed; False where nothing can lock."""
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
            # whoever held the lock has removed it: those who wait for it must not meet those who come now
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
        raise OSError('this system does not lock files') from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if os.environ.get('LOCAL_RANK', '0') == '0':
            print_log(f'Another process downloads {name}: waiting for it', 'current')
        fcntl.flock(lock, fcntl.LOCK_EX)


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
