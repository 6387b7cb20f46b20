"""Bodies of requests: written to a private folder while they arrive, within limits of size, time and number.

Names that a client gives its files are never used; nor are its words on how long its body is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, BinaryIO

from mmav.datasets.media import PairPath
from mmav.errors import did_you_mean
from mmav.serving.limits import Refusal, ServeLimits

PARTS = ('clip', 'video', 'audio')
RAW_TYPES = ('application/octet-stream', 'video/', 'audio/')
FORM = 'multipart/form-data'
MOST_HEADER_BYTES = 4096
Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client has closed the connection: there is nobody to answer."""


class UploadStore:
    """A folder with the bodies of the requests that are under way.

    Args:
        folder: The folder, which nobody else may read.
        limits: Of one body, and of all together.

    Attributes:
        stored: Bytes in the folder.
        received: Bytes that ever arrived.
    """

    def __init__(self, folder: str, limits: ServeLimits) -> None:
        self.folder, self.limits = folder, limits
        self.stored = self.received = 0

    @asynccontextmanager
    async def keep(self, headers: Any, receive: Receive) -> AsyncIterator[str]:
        """Keeps the body of a request while it is worked on.

        Args:
            headers: Of the request, names in lower case.
            receive: Of ASGI.

        Yields:
            The clip: a file, or a :class:`~mmav.datasets.media.PairPath` of two.

        Raises:
            Refusal: It is too large, too slow, or no clip.
            ClientGone: The client has gone.
        """
        body = _Body(self)
        try:
            await self._fill(body, headers, receive)
            yield body.path()
        finally:
            body.remove()

    async def _fill(self, body: _Body, headers: Any, receive: Receive) -> None:
        kind, _, parameters = headers.get('content-type', '').partition(';')
        kind = kind.strip().lower()
        if headers.get('content-encoding', 'identity').strip().lower() not in ('', 'identity'):
            raise Refusal('unsupported_content_type', 'Send the body as it is, without a Content-Encoding.')
        length = headers.get('content-length', '')
        if length.isascii() and length.isdigit() and int(length) > self.limits.most_bytes + MOST_HEADER_BYTES:
            raise self._too_large()
        if kind == FORM:
            feed, finish = form_parser(parameters, body)
        elif kind.startswith(RAW_TYPES):
            body.begin('clip')
            feed, finish = body.write, lambda: None
        else:
            raise Refusal(
                'unsupported_content_type',
                f'Send a clip as {FORM}, or the file itself as {RAW_TYPES[0]}, video/* or audio/*.',
            )
        async for chunk in self._chunks(receive):
            feed(chunk)
        finish()

    async def _chunks(self, receive: Receive) -> AsyncIterator[bytes]:
        until = time.monotonic() + self.limits.upload_seconds
        total, more = 0, True
        while more:
            patience = min(self.limits.idle_seconds, until - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), max(patience, 0.001))
            except (asyncio.TimeoutError, TimeoutError) as error:
                raise Refusal('upload_too_slow', 'The body did not arrive in time.') from error
            if message['type'] == 'http.disconnect':
                raise ClientGone
            chunk, more = message.get('body', b''), bool(message.get('more_body'))
            total += len(chunk)
            self.received += len(chunk)
            if total > self.limits.most_bytes + MOST_HEADER_BYTES:
                raise self._too_large()
            if chunk:
                yield chunk

    def _too_large(self) -> Refusal:
        return Refusal('upload_too_large', f'The body is too large: {self.limits.megabytes:g} MB at most are taken.')


class _Body:
    """The files of one body."""

    def __init__(self, store: UploadStore) -> None:
        self._store = store
        self._files: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._part = ''
        self._open: BinaryIO | None = None

    def begin(self, part: str) -> None:
        """Begins a part.

        Raises:
            Refusal: It is no part that is known, or there already.
        """
        if part not in PARTS:
            raise Refusal(
                'no_clip',
                f'The form has the part {part[:40]!r}{did_you_mean(part[:40], PARTS)}: send one file as clip, or two '
                'as video and audio; options belong into the query.',
            )
        if part in self._files:
            raise Refusal('no_clip', f'The form has two parts {part!r}: send one clip.')
        self.end()
        # no suffix: nothing is told from a name
        path = os.path.join(self._store.folder, secrets.token_hex(16))
        try:
            self._open = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb')
        except OSError as error:  # no room for its name, too many open files, or somebody has removed the folder
            logging.getLogger('mmav').error('an upload cannot be kept: %s', error)
            raise _no_room() from error
        self._part, self._files[part], self._sizes[part] = part, path, 0

    def write(self, data: bytes) -> None:
        """Writes to the part that was begun.

        Raises:
            Refusal: All uploads together take too much room.
        """
        store = self._store
        if store.stored + len(data) > store.limits.stored_bytes:
            raise Refusal('busy', 'There are too many uploads at the moment; please try again.', retry_after=2)
        assert self._open is not None
        store.stored += len(data)
        self._sizes[self._part] += len(data)
        try:
            self._open.write(data)
        except OSError as error:
            raise _no_room() from error

    def end(self) -> None:
        """Ends the part that was begun."""
        if self._open is not None:
            opened, self._open = self._open, None
            try:
                opened.close()
            except OSError as error:
                raise _no_room() from error

    def path(self) -> str:
        """The clip.

        Raises:
            Refusal: There is none.
        """
        self.end()
        for part, size in self._sizes.items():
            if not size:
                raise Refusal('no_clip', f'The {part} is empty (0 bytes).')
        if 'clip' in self._files:
            if len(self._files) > 1:
                raise Refusal('no_clip', 'The form has a clip and another part: send one file, or video and audio.')
            return self._files['clip']
        if not self._files:
            raise Refusal('no_clip', 'There is no clip: send one file as clip, or two as video and audio.')
        return PairPath(self._files.get('video', ''), self._files.get('audio', ''))

    def remove(self) -> None:
        """Removes the files."""
        with suppress(Refusal):
            self.end()
        for path in self._files.values():
            with suppress(OSError):
                os.remove(path)
        self._store.stored -= sum(self._sizes.values())
        self._sizes.clear()


def _no_room() -> Refusal:
    return Refusal('busy', 'There is no room for uploads at the moment.', retry_after=10)


def form_parser(parameters: str, body: Any) -> tuple[Callable[[bytes], Any], Callable[[], None]]:
    """A parser of multipart/form-data that hands over parts while they arrive.

    Args:
        parameters: What stands behind ``multipart/form-data;`` in the content type.
        body: Is told of parts: ``begin(name)``, ``write(data)`` and ``end()``.

    Returns:
        What takes the next bytes, and what is called at their end; both raise a :class:`Refusal`.

    Raises:
        Refusal: The content type has no boundary.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    header: dict[str, bytes] = dict(name=b'', value=b'', disposition=b'')
    ended = [False]

    def on_part_begin() -> None:
        header.update(name=b'', value=b'', disposition=b'')

    def on_header_end() -> None:
        if header['name'].lower() == b'content-disposition':
            header['disposition'] = header['value']
        header.update(name=b'', value=b'')

    def on_headers_finished() -> None:
        kind, options = parse_options_header(header['disposition'])
        if kind != b'form-data' or b'name' not in options:
            raise Refusal('malformed_request', 'A part of the form has no name.')
        body.begin(options[b'name'].decode('utf-8', 'replace'))

    callbacks: Any = dict(
        on_part_begin=on_part_begin,
        on_header_field=lambda data, start, end: header.update(name=header['name'] + data[start:end]),
        on_header_value=lambda data, start, end: header.update(value=header['value'] + data[start:end]),
        on_header_end=on_header_end,
        on_headers_finished=on_headers_finished,
        on_part_data=lambda data, start, end: body.write(data[start:end]),
        on_part_end=body.end,
        on_end=lambda: ended.__setitem__(0, True),
    )
    _, options = parse_options_header(f'{FORM};{parameters}')
    malformed = 'The body is not valid multipart/form-data'
    if not options.get(b'boundary'):
        raise Refusal('malformed_request', f'{malformed}: its Content-Type has no boundary.')
    try:
        parser = MultipartParser(options[b'boundary'], callbacks, max_header_count=8, max_header_size=MOST_HEADER_BYTES)
    except FormParserError as error:
        raise Refusal('malformed_request', f'{malformed}: its boundary is too long.') from error

    def feed(data: bytes) -> None:
        try:
            parser.write(data)
        except FormParserError as error:
            raise Refusal('malformed_request', f'{malformed}.') from error

    def finish() -> None:
        if not ended[0]:
            raise Refusal('malformed_request', f'{malformed}: it ends early.')

    return feed, finish
