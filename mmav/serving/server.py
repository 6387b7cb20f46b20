"""Serves until it is told to stop, and then answers everyone who waits."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from mmav.listening import LOCAL_HOSTS, running, url_of
from mmav.serving.app import make_app
from mmav.serving.gate import ACCESS, Gate
from mmav.serving.protocol import LARGEST_HEADERS, limited_protocol
from mmav.serving.service import ClipService
from mmav.serving.upload_folder import upload_folder

# After a signal, new requests are answered for at least so long: load balancers need a moment to look elsewhere.
LINGER = 1.0


class ClipServer(uvicorn.Server):
    """uvicorn's server, which a signal stops once everybody has an answer, or when the time for that is up.

    Args:
        config: uvicorn's.
        gate: The application.
        service: The work.
        grace: Seconds from the signal to the end at most.

    Attributes:
        greeting: Printed once it listens.
    """

    greeting = ''

    def __init__(self, config: uvicorn.Config, gate: Gate, service: ClipService, *, grace: float) -> None:
        super().__init__(config)
        self.gate, self.service, self.grace = gate, service, grace
        self._told: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.greeting:
            print(self.greeting, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuses new requests; a second signal ends all at once."""
        if self._told is not None:
            self.force_exit = self.should_exit = True
            return
        self._told, self.service.stopping = time.monotonic(), True

    async def on_tick(self, counter: int) -> bool:
        """Looks whether it can end."""
        if self._told is not None:
            waited = time.monotonic() - self._told
            self.should_exit = self.should_exit or waited > self.grace or (waited > LINGER and not self.gate.open)
        return await super().on_tick(counter)


def make_server(service: ClipService, folder: str, *, token: str | None = None, grace: float = 30.0) -> ClipServer:
    """A server of the endpoint.

    Args:
        service: The work; started already.
        folder: An own, private folder for uploads.
        token: What clients must send; None for no need.
        grace: Seconds from a signal to the end at most.
    """
    gate = make_app(service, folder, token=token)
    config = uvicorn.Config(
        gate,
        http=limited_protocol(service.limits),
        ws='none',
        lifespan='off',
        log_config=None,
        log_level='warning',
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=LARGEST_HEADERS,
        timeout_graceful_shutdown=1,
        backlog=1024,
    )
    # what is no HTTP is answered with an error; a line of the log for each would fill the disk
    logging.getLogger('uvicorn.error').addFilter(lambda record: 'Invalid HTTP request' not in record.getMessage())
    return ClipServer(config, gate, service, grace=grace)


def serve(service: ClipService, listener: socket.socket, *, token: str | None = None, grace: float = 30.0) -> None:
    """Serves until interrupted.

    Args:
        service: The work; started and stopped here.
        listener: A bound socket, see :func:`mmav.listening.bind`.
        token: What clients must send; None for no need.
        grace: Seconds from a signal to the end at most.

    Raises:
        MmavError: The processes that read clips cannot be started.
    """
    log_access()
    host = listener.getsockname()[0]
    if host not in LOCAL_HOSTS:
        lacks = 'it has no encryption' if token is not None else 'it has no token and no encryption'
        print(f'warning: the endpoint is open to everyone who can reach {host}; {lacks}', file=sys.stderr)
    try:
        service.start()
        with upload_folder() as folder:
            server = make_server(service, folder, token=token, grace=grace)
            server.greeting = f'the endpoint is at {url_of(listener)}  (Ctrl-C ends it)'
            server.run(sockets=[listener])
    finally:
        service.stop()


@contextmanager
def serving(service: ClipService, listener: socket.socket, **options: Any) -> Iterator[str]:
    """Serves in another thread; yields the address.

    Args:
        service: The work; started and stopped here.
        listener: A bound socket.
        **options: Of :func:`make_server`.
    """
    with upload_folder() as folder:
        service.start()
        try:
            with running(make_server(service, folder, **options), listener) as url:
                yield url
        finally:
            service.stop()


def log_access() -> None:
    """Writes a line for each request to stderr."""
    if not ACCESS.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter('%(asctime)s %(message)s'))
        ACCESS.addHandler(handler)
    ACCESS.setLevel(logging.INFO)
    ACCESS.propagate = False
