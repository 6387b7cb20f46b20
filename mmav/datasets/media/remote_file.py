"""Media files behind addresses: fetched whole, with time-outs, and again where that may help.

Nothing here is called for what a file, a page's visitor or a server names: only for addresses that the user gives.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException, InvalidURL
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mmav.datasets.media.stored_file import StoredFile
from mmav.errors import MediaError, MissingMediaError

_CHUNK = 2**20
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds between tries
# characters that an address may hold as they are; also %, as it may be quoted already
_UNQUOTED = "%/:=&?~#+!$,;'@()*[]"
# with these a server refuses what it will refuse again
_FINAL = {400, 401, 403, 404, 405, 406, 410, 414, 451}
WEB = ('http://', 'https://')


class Patience(NamedTuple):
    """How a remote file is fetched.

    Attributes:
        tries: The most attempts.
        timeout: Seconds for one of them.
        megabytes: The largest file, in 2^20 bytes.
        sleep: Waits between attempts; says whether to give up.
    """

    tries: int = 4
    timeout: float = 60.0
    megabytes: float = 1024.0
    sleep: Callable[[float], Any] = time.sleep


class _Final(Exception):
    """What would not be different the next time."""


class _Again(Exception):
    """What may be different the next time; after so many seconds, if the server says."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class _WebOnly(HTTPRedirectHandler):
    """Follows a server that sends to another address, but not to one of FTP, which urllib would open."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Request | None:
        if not newurl.lower().startswith(WEB):
            raise HTTPError(req.full_url, code, f'and sends to {newurl!r}, which is not followed', headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class RemoteFile(StoredFile):
    """A media file at an address: http, https, or of a file system that fsspec knows, such as s3 or gs.

    Args:
        address: Where it is.
        patience: How it is fetched; None for the defaults.

    Attributes:
        attempts: How many the last reading took.
    """

    patience: Patience
    attempts: int

    def __new__(cls, address: str, patience: Patience | None = None) -> RemoteFile:
        file = super().__new__(cls, address)
        file.patience, file.attempts = patience or Patience(), 0
        return file

    def read(self) -> bytes:
        """Fetches it; waits longer from attempt to attempt, and not as long as others do.

        Raises:
            MediaError: It cannot be had; a MissingMediaError if there is none.
        """
        tries = max(1, self.patience.tries)
        for self.attempts in range(1, tries + 1):
            try:
                return b''.join(self._chunks())
            except FileNotFoundError:  # noqa: PERF203 - an attempt takes longer
                raise MissingMediaError(str(self)) from None
            except _Final as error:
                raise MediaError(str(self), str(error)) from error
            except _Again as error:
                reason = str(error)
                if self.attempts < tries:
                    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self.attempts - 1)) * random.uniform(0.5, 1.5)
                    if self.patience.sleep(max(wait, min(error.after, LONGEST_WAIT))):
                        break
        raise MediaError(str(self), f'could not be fetched in {self.attempts} tries: {reason}')

    def stamp(self) -> tuple[str, int, int]:
        """Its address; the size and version are not asked for."""
        return str(self), 0, 0

    def _chunks(self) -> Iterator[bytes]:
        """The content of one attempt."""
        end, size = time.monotonic() + self.patience.timeout, 0
        for chunk in self._from_web() if self.startswith(WEB) else self._from_file_system():
            size += len(chunk)
            if size > self.patience.megabytes * 2**20:
                raise _Final(f'has more than the {self.patience.megabytes:g} MB that are read')
            if time.monotonic() > end:
                raise _Again(f'took longer than {self.patience.timeout:g} s')
            yield chunk

    def _from_web(self) -> Iterator[bytes]:
        received = 0
        try:
            request = Request(quote(self, safe=_UNQUOTED), headers={'User-Agent': 'mmav'})
            with build_opener(_WebOnly).open(request, timeout=self.patience.timeout) as answer:
                length = answer.headers.get('Content-Length')
                total = int(length) if length and length.isdecimal() else None
                # what the connection has, so that a server that trickles is noticed
                while chunk := answer.read1(_CHUNK):
                    received += len(chunk)
                    yield chunk
            if total is not None and received < total:
                raise _Again(f'the connection broke after {received} of {total} bytes')
        except HTTPError as error:
            if error.code in (404, 410):
                raise FileNotFoundError from error
            reason = f'the server answers {error.code} {" ".join(str(error.reason).split())}'
            after = error.headers.get('Retry-After', '') if error.headers else ''
            final = error.code in _FINAL or error.code < 400  # such as a redirection that goes round in circles
            raise (_Final(reason) if final else _Again(reason, float(after) if after.isdecimal() else 0.0)) from error
        except URLError as error:
            if isinstance(error.reason, str):
                raise _Final(f'is not an address: {error.reason}') from error
            raise _Again(f'no connection: {getattr(error.reason, "strerror", None) or error.reason}') from error
        except TimeoutError as error:
            raise _Again(f'the server was silent for {self.patience.timeout:g} s') from error
        except (ValueError, InvalidURL) as error:
            raise _Final(f'is not an address: {error}') from error
        except (OSError, HTTPException) as error:
            raise _Again(' '.join(str(error).split()) or type(error).__name__) from error

    def _from_file_system(self) -> Iterator[bytes]:
        system, path = file_system(self)
        try:
            with system.open(path, 'rb') as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
        except FileNotFoundError:
            raise
        except (IsADirectoryError, PermissionError) as error:
            raise _Final(f'cannot be read: {getattr(error, "strerror", None) or error}') from error
        except (_Final, _Again, GeneratorExit):
            raise
        except Exception as error:  # each file system has errors of its own
            raise _Again(f'{type(error).__name__}: {" ".join(str(error).split())}') from error


def is_address(text: str) -> bool:
    """Whether a text is an address and not a path.

    >>> is_address('s3://bucket/a.mp4'), is_address('a.mp4')
    (True, False)
    """
    scheme, found, _ = text.partition('://')
    return bool(found) and scheme.replace('+', '').replace('-', '').isalnum()


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it.

    Raises:
        MediaError: There is none, or it needs a package that is not installed.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise MediaError(str(address), f'cannot be reached: {" ".join(str(error).split())}') from error
    except Exception as error:  # wrong credentials, unknown schemes, ...
        raise MediaError(str(address), f'is at no known place: {" ".join(str(error).split())}') from error
