"""What every request passes first: the token, the number of requests at a time, the access log and the counters."""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from mmav.serving.limits import Refusal
from mmav.serving.metrics import Counter, Gauge, Histogram

HEALTH = ('/health/live', '/health/ready')
METHODS = ('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS')
CLIENT_GONE = 499  # nginx's number for a client that did not wait for its answer
ACCESS = logging.getLogger('mmav.serving.access')
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Gate:
    """ASGI middleware around the application.

    Args:
        app: The application behind it.
        paths: What it serves; others have no name of their own in log and counters, whatever clients ask for.
        token: What clients must send as ``Authorization: Bearer``; None for no need. Health needs none.
        connections: Most requests at the same time; health not counted.
        stopping: Whether the server is about to stop.

    Attributes:
        open: Requests under way.
        metrics: What is counted.
    """

    def __init__(
        self,
        app: Callable,
        *,
        paths: Collection[str],
        token: str | None,
        connections: int,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.app, self.paths, self.connections, self.stopping = app, frozenset(paths), connections, stopping
        self._token = None if token is None else token.encode()
        self.open = 0
        self.requests = Counter('mmav_requests_total', 'Requests', ['method', 'path', 'status'])
        self.seconds = Histogram('mmav_request_seconds', 'Seconds from headers to answer', labels=['path'])
        self.bytes = Counter('mmav_request_bytes_total', 'Bytes of bodies')
        self.metrics: list[Counter | Gauge | Histogram] = [
            self.requests,
            self.seconds,
            self.bytes,
            Gauge('mmav_open_requests', 'Requests under way', lambda: self.open),
        ]

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it; counts it and writes a line of the log."""
        if scope['type'] != 'http':
            if scope['type'] == 'lifespan':
                await self.app(scope, receive, send)
            return
        began, status, taken, given = time.perf_counter(), CLIENT_GONE, 0, 0

        async def counted_receive() -> dict[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get('body', b''))
            return message

        async def counted_send(message: dict[str, Any]) -> None:
            nonlocal status, given
            if message['type'] == 'http.response.start':
                status = message['status']
                if self.stopping() and status < 400:
                    message = {**message, 'headers': [*message.get('headers', []), (b'connection', b'close')]}
            given += len(message.get('body', b''))
            await send(message)

        self.open += 1
        try:
            try:
                self._check(scope)
            except Refusal as refusal:
                await _reply(counted_send, refusal)
            else:
                await self.app(scope, counted_receive, counted_send)
        except Exception:
            logging.getLogger('mmav').exception('a request failed')
            if status == CLIENT_GONE:
                await _reply(counted_send, Refusal('internal', 'Something went wrong on our side.'))
        finally:
            self.open -= 1
            self._note(scope, status, time.perf_counter() - began, taken, given)

    def _check(self, scope: dict[str, Any]) -> None:
        if scope['path'] in HEALTH:
            return
        if self._token is not None:
            sent = dict(scope['headers']).get(b'authorization', b'').split(None, 1)
            right = len(sent) == 2 and sent[0].lower() == b'bearer'
            if not (right and hmac.compare_digest(sent[1].strip(), self._token)):
                raise Refusal('unauthorized', 'Send the token of this server: Authorization: Bearer TOKEN.')
        if self.open > self.connections:
            raise Refusal('busy', 'Too many requests are under way; please try again.', retry_after=1)

    def _note(self, scope: dict[str, Any], status: int, seconds: float, taken: int, given: int) -> None:
        # whatever else a client sends for method and path stays out of log and counters
        method = scope['method'] if scope['method'] in METHODS else '(other)'
        path = scope['path'] if scope['path'] in self.paths else '(other)'
        self.requests.add(method=method, path=path, status=status)
        self.seconds.see(seconds, path=path)
        self.bytes.add(taken)
        ACCESS.info('%s %s %d %.0f ms %d bytes in %d out', method, path, status, 1000 * seconds, taken, given)


async def _reply(send: Send, refusal: Refusal) -> None:
    content = json.dumps(refusal.body).encode()
    headers = {'Content-Type': 'application/json', 'Content-Length': str(len(content)), **refusal.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send(dict(type='http.response.start', status=refusal.status, headers=raw))
    await send(dict(type='http.response.body', body=content))
