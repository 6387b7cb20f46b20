"""Sockets that servers listen at."""

from __future__ import annotations

import errno
import socket

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
