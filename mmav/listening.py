"""Sockets that servers listen at, and servers in a thread."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmav.errors import MmavError

LOCAL_HOSTS = ('127.0.0.1', 'localhost', '::1')


def bind(host: str, port: int) -> socket.socket:
    """Binds the port, which should happen before a model is loaded.

    Raises:
        MmavError: It is in use, or this machine has no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except (OSError, OverflowError) as error:
        if getattr(error, 'errno', None) == errno.EADDRINUSE:
            raise MmavError(f'port {port} of {host} is in use: give another one with --port') from error
        raise MmavError(f'cannot listen at {host}, port {port}: {getattr(error, "strerror", None) or error}') from error
    return taken


def url_of(listener: socket.socket) -> str:
    """The address of what is served at a socket."""
    host, port = listener.getsockname()[:2]
    return f'http://{f"[{host}]" if ":" in host else host}:{port}'


@contextmanager
def running(server: Any, listener: socket.socket) -> Iterator[str]:
    """Runs a uvicorn server in another thread; yields its address once it answers."""
    thread = threading.Thread(target=server.run, kwargs=dict(sockets=[listener]), daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not server.started:
            time.sleep(0.01)
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
