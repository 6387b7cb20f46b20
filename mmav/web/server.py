"""Serves the page of demo/web_demo.py and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mmav.listening import LOCAL_HOSTS, running, url_of
from mmav.web.demo import Limits
from mmav.web.live import LARGEST_PIECE, PATH, LiveDesk, RefusedPiece
from mmav.web.page import STYLE, import_gradio

# What the page requests; gradio serves much more, such as a proxy, recorders and editors.
PAGES = re.compile(
    r'/(|config|theme\.css|favicon\.ico|assets/.+|static/.+|manifest\.json'
    r'|gradio_api/(queue/data|upload_progress|heartbeat/\w+|startup-events))'
)
FILE = '/gradio_api/file='
UPLOAD, JOIN = '/gradio_api/upload', '/gradio_api/queue/join'
LARGEST_REQUEST = 2**18  # bytes of a request that is no upload
STORED_UPLOADS = 20  # as many of the largest size are kept at a time, until they are old enough to be removed
SLOWEST_PIECE = 30.0  # seconds for sending one
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Gate:
    """ASGI middleware that only lets through what the page needs.

    Files are served from one folder only, and uploads taken from there, whatever path a request names; never from
    another host.

    Args:
        app: The application behind it.
        folder: Folder of the uploads.
        limits: The largest upload.
        live: Answers pieces of recordings; None to take none.
    """

    def __init__(self, app: Callable, folder: str, *, limits: Limits, live: LiveDesk | None = None) -> None:
        self.app, self.live = app, live
        self.folder = os.path.realpath(folder)
        self.most = int(limits.megabytes * 2**20)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        try:
            if scope['type'] == 'http' and scope['path'] == PATH and self.live is not None:
                return await self._answer(self.live, scope, receive, send)
            if scope['type'] == 'http':
                receive = await self._checked(scope, receive)
            elif scope['type'] != 'lifespan':
                return
        except _Refused as refusal:
            await _reply(send, refusal.status, refusal.text)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, live: LiveDesk, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answers a piece of a recording, which goes no further."""
        headers = dict(scope['headers'])
        try:
            if scope['method'] != 'POST':
                raise _Refused(404, 'Not found')
            live.admit(headers)
            body = await asyncio.wait_for(_read(receive, int(LARGEST_PIECE * 2**20)), SLOWEST_PIECE)
            found = await asyncio.to_thread(live.answer, body, headers)
        except RefusedPiece as refusal:
            raise _Refused(refusal.status, refusal.text) from refusal
        except asyncio.TimeoutError as error:
            raise _Refused(408, 'The piece came too slowly.') from error
        except _Refused:
            raise
        except Exception as error:
            logging.getLogger('mmav').exception('a piece of a recording failed')
            raise _Refused(500, 'Something went wrong on our side; the log of the server says what.') from error
        await _reply(send, 200, found)

    async def _checked(self, scope: dict[str, Any], receive: Receive) -> Receive:
        """Checks a request; returns what the application receives of it."""
        method, path = scope['method'], scope['path']
        if method == 'POST' and path == JOIN:
            body = await _read(receive, LARGEST_REQUEST)
            if not self._harmless(body):
                raise _Refused(400, 'The file is no longer here: please upload it again.')
            return _again(body, receive)
        if method == 'POST' and path == UPLOAD:
            size = dict(scope['headers']).get(b'content-length', b'')
            if size.isdigit() and int(size) > self.most + LARGEST_REQUEST:
                raise _Refused(413, f'The file is too large: this page takes {self.most / 2**20:g} MB at most.')
            if _bytes_in(self.folder) > STORED_UPLOADS * self.most:
                raise _Refused(503, 'There are too many uploads at the moment: please try again in some minutes.')
            return receive
        if path.startswith(FILE):
            known = self._inside(path[len(FILE) :])
        else:
            known = PAGES.fullmatch(path) is not None and '..' not in path.split('/')
        if method not in ('GET', 'HEAD') or not known:
            raise _Refused(404, 'Not found')
        return receive

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return os.path.isfile(real) and real.startswith(self.folder + os.sep)

    def _harmless(self, body: bytes) -> bool:
        """Whether each file that a request names is an upload; other clients may send anything."""
        try:
            return all(
                path is None or (isinstance(path, str) and self._inside(path)) for path in _paths(json.loads(body))
            )
        except (ValueError, RecursionError):
            return False


def _paths(value: Any) -> Iterator[Any]:
    """Values under the key ``path``, at any depth."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == 'path':
                yield each
            yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)


async def _read(receive: Receive, most: int) -> bytes:
    body, more = b'', True
    while more:
        message = await receive()
        body += message.get('body', b'')
        if message['type'] == 'http.disconnect' or len(body) > most:
            raise _Refused(413, 'The request is too large.')
        more = bool(message.get('more_body'))
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Replays a body that was read, then goes on with what comes after it."""
    waiting = [dict(type='http.request', body=body, more_body=False)]

    async def give() -> dict[str, Any]:
        return waiting.pop() if waiting else await receive()

    return give


async def _reply(send: Send, status: int, said: str | dict[str, Any]) -> None:
    content = json.dumps(dict(detail=said, error=said) if isinstance(said, str) else said).encode()
    headers = [(b'content-type', b'application/json'), (b'content-length', str(len(content)).encode())]
    await send(dict(type='http.response.start', status=status, headers=headers))
    await send(dict(type='http.response.body', body=content))


def _bytes_in(folder: str) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # removed in the meantime
                total += os.path.getsize(os.path.join(where, name))
    return total


@contextmanager
def upload_folder() -> Iterator[str]:
    """A temporary folder for uploads."""
    before = os.environ.get('GRADIO_TEMP_DIR')
    with tempfile.TemporaryDirectory(prefix='mmav-page-', ignore_cleanup_errors=True) as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        try:
            yield folder
        finally:
            if before is None:
                del os.environ['GRADIO_TEMP_DIR']
            else:
                os.environ['GRADIO_TEMP_DIR'] = before


def make_app(page: Any, folder: str, *, limits: Limits, live: LiveDesk | None = None) -> Gate:
    """The page as an ASGI application.

    Args:
        page: ``gradio.Blocks``.
        folder: Folder of the uploads, see :func:`upload_folder`.
        limits: The largest upload.
        live: Answers pieces of recordings; None to take none.
    """
    from fastapi import FastAPI

    gradio = import_gradio()
    # gradio's default theme fetches its fonts from Google
    fonts = dict(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])
    app = gradio.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path='',
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=int(limits.megabytes * 2**20),
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gradio.themes.Default(**fonts),
        css=STYLE.read_text(encoding='utf-8'),
    )
    return Gate(app, folder, limits=limits, live=live)


def serve(app: Callable, listener: socket.socket) -> None:
    """Serves until interrupted."""
    server = _server(app)
    # Connections that the shutdown cuts off, such as pages that still listen, are no errors.
    logging.getLogger('uvicorn.error').addFilter(lambda record: not server.should_exit)
    # uvicorn raises the signal again once it has shut down; this way the uploads are removed before the process ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    host = listener.getsockname()[0]
    if host not in LOCAL_HOSTS:
        print(
            f'warning: the page is open to everyone who can reach {host}; it has no password and no encryption',
            file=sys.stderr,
        )
    print(f'the page is at {url_of(listener)}  (Ctrl-C ends it)', flush=True)
    server.run(sockets=[listener])


@contextmanager
def serving(app: Callable, listener: socket.socket) -> Iterator[str]:
    """Serves in another thread; yields the address."""
    with running(_server(app), listener) as url:
        yield url


def _server(app: Callable) -> Any:
    import uvicorn

    config = uvicorn.Config(
        app, log_level='warning', access_log=False, ws='none', timeout_graceful_shutdown=1, server_header=False
    )
    return uvicorn.Server(config)
