"""The rolling answer of the page: a visitor's browser records short pieces, which are answered from memory.

Each piece is a file of its own, as long as the model's window, that the browser sends with a request. Nothing of it is
written to the disk. A piece that comes while the model works is answered with "busy": the newest one counts, and none
waits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mmav.datasets.media import BytesFile
from mmav.web.demo import Answer, BusyError, UploadError, WebDemo

PATH = '/mmav/live'
# A header that browsers send to this page only: to other hosts they would have to ask first, which is refused.
SESSION, USE = b'x-mmav-live', b'x-mmav-use'
LARGEST_PIECE = 16.0  # megabytes of 2^20 bytes
LONGEST_WINDOW = 10.0  # seconds
PAUSE = 0.3  # seconds between two pieces of a visitor
AWAY = 10.0  # seconds after which a visitor who sends nothing has left
_TOKEN = re.compile(rb'[\w-]{8,64}')


class RefusedPiece(Exception):
    """A piece that is not looked at.

    Args:
        status: Of HTTP.
        text: A sentence for the visitor.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class LiveDesk:
    """Admits visitors with a camera, and answers their pieces.

    Args:
        demo: Classifies.
        render: An answer as HTML.
        streams: Visitors at a time.

    Attributes:
        window: Seconds of a piece.
        stride: Seconds from the start of one to the start of the next.
    """

    def __init__(self, demo: WebDemo, render: Callable[[Answer], str], *, streams: int = 4) -> None:
        self.demo, self.render, self.streams = demo, render, streams
        self.window = min(LONGEST_WINDOW, demo.inferencer.window or 4.0)
        self.stride = max(0.5, self.window / 2)
        self._seen: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Checks a request before its body is read.

        Raises:
            RefusedPiece: It is not one of the page's, comes too soon, or there are too many visitors.
        """
        token = headers.get(SESSION, b'')
        if not _TOKEN.fullmatch(token):
            raise RefusedPiece(400, 'This is no piece of a recording.')
        size = headers.get(b'content-length', b'')
        if not size.isdigit() or int(size) > LARGEST_PIECE * 2**20:
            raise RefusedPiece(413, f'The piece is too large: {LARGEST_PIECE:g} MB at most.')
        now = time.monotonic()
        with self._lock:
            self._seen = {each: last for each, last in self._seen.items() if now - last < AWAY}
            if token not in self._seen and len(self._seen) >= self.streams:
                raise RefusedPiece(
                    503, 'There are too many visitors with a camera at the moment: please try again later.'
                )
            if now - self._seen.get(token, -PAUSE) < PAUSE:
                raise RefusedPiece(429, 'The pieces come too fast.')
            self._seen[token] = now

    def answer(self, data: bytes, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
        """Classifies a piece.

        Returns:
            ``html``; and ``seconds`` that it took.

        Raises:
            RefusedPiece: It cannot be classified, or the model is busy.
        """
        begun = time.monotonic()
        use = headers.get(USE, b'').decode('ascii', 'replace') or self.demo.uses[0]
        try:
            found = self.demo.classify_piece(BytesFile('camera', data), use, seconds=2 * self.window + 1)
        except BusyError as error:
            raise RefusedPiece(429, 'The model is busy.') from error
        except UploadError as error:
            raise RefusedPiece(422, str(error)) from error
        return dict(html=self.render(found), seconds=round(time.monotonic() - begun, 3))
