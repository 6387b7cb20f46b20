import pytest

from mmav.errors import MmavError
from mmav.listening import bind, url_of


def test_port_in_use_is_one_line():
    with bind('127.0.0.1', 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MmavError, match=f'port {port} of 127.0.0.1 is in use: give another one with --port'):
            bind('127.0.0.1', port)
    with pytest.raises(MmavError, match='cannot listen at 192.0.2.1'):  # an address that belongs to nobody
        bind('192.0.2.1', 0)
    with pytest.raises(MmavError, match='cannot listen at no.such.host.invalid'):
        bind('no.such.host.invalid', 0)


def test_address():
    with bind('127.0.0.1', 0) as listener:
        assert url_of(listener) == f'http://127.0.0.1:{listener.getsockname()[1]}'
