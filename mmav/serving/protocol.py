"""uvicorn's protocol with limits that it lacks: of connections, of time for headers and for taking an answer, of bodies
that nobody reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mmav.serving.limits import Refusal, ServeLimits

LARGEST_HEADERS = 2**14  # bytes
# Requests at a time are limited by the gate; so many times more connections may be open, idle or not. As many again are
# told that there are too many, and what comes on top of that is closed.
SPARE_CONNECTIONS = 4
# Of the rest of a body that is refused, so many times the largest body is thrown away: clients such as Python's urllib
# look for an answer only once they have sent everything, and what is too large is larger than the largest.
THROWN_AWAY = 4


def limited_protocol(limits: ServeLimits) -> type[H11Protocol]:
    """uvicorn's protocol within limits: of connections, of time for what is sent and taken, of the size of a body."""

    class LimitedProtocol(H11Protocol):
        """One connection."""

        transport: Any

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._timer: asyncio.TimerHandle | None = None
            self._waits_for = ''
            self._unread = 0
            self._refused = False
            self._watch: asyncio.TimerHandle | None = None
            self._unsent, self._ticks = 0, 0

        def connection_made(self, transport: Any) -> None:
            """Refuses it where there are too many; else the time for its headers begins."""
            asking: Any = _Transport(transport, self._close)
            super().connection_made(asking)
            self._look_at_answers()
            if len(self.connections) > 2 * SPARE_CONNECTIONS * limits.connections:
                self.transport.close_now()
            elif len(self.connections) > SPARE_CONNECTIONS * limits.connections:
                self._refuse(Refusal('busy', 'There are too many connections; please try again.', retry_after=1))
            else:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            """Forgets it."""
            self._set_timer('')
            if self._watch is not None:
                self._watch.cancel()
            super().connection_lost(exc)

        def shutdown(self) -> None:
            """Ends it, as the server does."""
            if self._refused:
                self.transport.abort()
            else:
                super().shutdown()

        def data_received(self, data: bytes) -> None:
            """Passes data on, and watches what comes next."""
            if self._waits_for == 'rest':
                self._unread += len(data)
                if self._unread > THROWN_AWAY * limits.most_bytes:
                    self.transport.close_now()
            if not self._refused and not self.transport.is_closing():
                super().data_received(data)
                self._wait()

        def send_400_response(self, msg: str) -> None:
            """Answers what is no HTTP in the form of all errors."""
            self._refuse(Refusal('malformed_request', 'This is not a valid HTTP request, or its headers are too long.'))

        def _wait(self) -> None:
            """What the client has to send in time: headers, or the rest of a body that was refused."""
            cycle = self.cycle
            if self._refused:
                self._set_timer('rest')
            elif self.conn.their_state is h11.IDLE:
                self._set_timer('headers')
            elif self.conn.their_state is h11.SEND_BODY and cycle is not None and cycle.response_complete:
                self._set_timer('rest')
            else:
                self._set_timer('')

        def on_response_complete(self) -> None:
            """Watches the rest of a body that nobody reads any more."""
            super().on_response_complete()
            if not self.transport.is_closing():
                self._wait()

        def _set_timer(self, waits_for: str) -> None:
            if waits_for == self._waits_for:
                return
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._waits_for, self._unread = None, waits_for, 0
            if waits_for:
                self._timer = self.loop.call_later(limits.idle_seconds, self._time_is_up)

        def _time_is_up(self) -> None:
            if self.transport.is_closing():
                return
            if self._waits_for == 'headers' and self.conn.trailing_data[0]:
                self._refuse(Refusal('upload_too_slow', 'The headers did not arrive in time.'))
            else:
                self.transport.close_now()

        def _refuse(self, refusal: Refusal) -> None:
            """Answers without the application, and ends the connection.

            What still arrives is thrown away for a moment: closed at once, a connection loses the answer, too.
            """
            content = json.dumps(refusal.body).encode()
            headers = {
                'Content-Type': 'application/json',
                'Content-Length': len(content),
                'Connection': 'close',
                **refusal.headers,
            }
            lines = [f'HTTP/1.1 {refusal.status} {refusal.code}', *(f'{name}: {headers[name]}' for name in headers)]
            self.transport.write('\r\n'.join([*lines, '', '']).encode() + content)
            self._linger()

        def _close(self) -> None:
            """Closes it; if its client still sends a body, after a moment."""
            unread = self.conn.their_state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete
            if unread and not self._refused and not self.transport.is_closing():
                self._linger()
            else:
                self.transport.close_now()

        def _linger(self) -> None:
            self._refused = True
            self._unset_keepalive_if_required()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.flow.resume_reading()
            self._wait()

        def _look_at_answers(self) -> None:
            """Ends it if its client does not take what was answered, which would occupy a place for ever."""
            left = self.transport.get_write_buffer_size()
            self._ticks = self._ticks + 1 if left else 0
            if left and (left >= self._unsent > 0 or self._ticks * limits.idle_seconds > limits.upload_seconds):
                self.transport.abort()
                return
            self._unsent = left
            self._watch = self.loop.call_later(limits.idle_seconds, self._look_at_answers)

    return LimitedProtocol


class _Transport:
    """A transport whose ``close`` asks first."""

    def __init__(self, transport: Any, close: Callable[[], None]) -> None:
        self._transport, self.close = transport, close

    def close_now(self) -> None:
        """Closes it."""
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
