"""An HTTP server on this machine that gives files, well or badly."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

PAGE = b'<!DOCTYPE html>\n<html><body>Sign in to see this file</body></html>'
PIECES = 8


class FileServer:
    """Serves ``files``, name -> content, under ``<manner>/<name>``; ``asked`` counts the requests.

    Manners: ``well``; ``unmeasured``, without a length; ``slowly``, in pieces over 0.4 s; ``cut``, half of it;
    ``silent``, half of it and then nothing; ``page``, a web page; ``disguised``, a page that says it is a file.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=dict(poll_interval=0.05), daemon=True)

    def address(self, manner: str, name: str) -> str:
        return f'http://127.0.0.1:{self._server.server_port}/{manner}/{name}'

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(owner: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, manner, name = self.path.split('?')[0].split('/')
            owner.asked[name] += 1
            content = PAGE if manner in ('page', 'disguised') else owner.files.get(name)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header('Content-Type', 'text/html' if manner == 'page' else 'application/octet-stream')
            if manner != 'unmeasured':
                self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            if manner in ('cut', 'silent'):
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                if manner == 'silent':
                    owner.over.wait(5)
                return
            pieces = PIECES if manner == 'slowly' else 1
            step = -(-len(content) // pieces)
            with suppress(ConnectionError):  # the client has gone
                for k in range(pieces):
                    self.wfile.write(content[k * step : (k + 1) * step])
                    self.wfile.flush()
                    time.sleep(0.05 if pieces > 1 else 0)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    return Handler
