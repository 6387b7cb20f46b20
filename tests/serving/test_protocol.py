import json
import socket
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest


def connect(site):
    return socket.create_connection(('127.0.0.1', site.port), timeout=10)


def everything(connection):
    """What arrives until the other end closes."""
    found = b''
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


def answer_of(connection):
    """One answer, on a connection that may stay open."""
    found = b''
    while b'\r\n\r\n' not in found or not found.rstrip().endswith(b'}'):
        data = connection.recv(65536)
        if not data:
            break
        found += data
    return found


def error_in(answer):
    head, _, content = answer.partition(b'\r\n\r\n')
    assert b'content-type: application/json' in head.lower()
    return head.split()[1], json.loads(content)['error']['code']


@pytest.mark.parametrize('sent', [b'', b'GET /health/live HT', b'GET /health/live HTTP/1.1\r\nHost: a\r\nX: '])
def test_headers_have_a_time(site, sent):
    with connect(site) as connection:
        connection.sendall(sent)
        answer = everything(connection)
    assert error_in(answer) == (b'408', 'upload_too_slow') if sent else answer == b''


def test_headers_that_trickle_have_no_longer(site):
    sent = 0
    with connect(site) as connection, suppress(OSError):
        while sent < 1000:
            connection.sendall(b'G')
            sent += 1
            time.sleep(0.05)
    assert sent < 1000


def test_trickle_after_an_answer(site):
    """uvicorn's own clock stops with the first byte of the next request."""
    with connect(site) as connection:
        connection.sendall(b'GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n')
        assert connection.recv(65536).startswith(b'HTTP/1.1 200')
        connection.sendall(b'GET')
        assert error_in(everything(connection)) == (b'408', 'upload_too_slow')


def test_bodies_that_trickle(site):
    with connect(site) as connection:
        connection.sendall(
            b'POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: video/mp4\r\nContent-Length: 100000\r\n\r\n'
        )
        connection.settimeout(0.05)
        answer = b''
        while not answer:
            connection.sendall(b'x')
            with suppress(TimeoutError):
                answer = connection.recv(65536)
        # and the rest is not waited for
        connection.settimeout(10)
        assert error_in(answer + everything(connection)) == (b'408', 'upload_too_slow')
    assert not list(site.folder.iterdir())


def test_refused_bodies_are_not_read_for_ever(site):
    with connect(site) as connection:
        connection.sendall(b'POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
        assert error_in(answer_of(connection)) == (b'404', 'not_found')
        chunk, sent = b'10000\r\n' + bytes(2**16) + b'\r\n', 0
        try:
            while sent < 1000:
                connection.sendall(chunk)
                sent += 1
        except OSError:
            pass
        assert sent < 1000  # 2 MB are taken at most, and some by the system


@pytest.mark.parametrize(
    'sent',
    [
        b'nonsense\r\n\r\n',
        b'GET / HTTP/1.1\r\n\r\n',  # no host
        b'GET / HTTP/1.1\r\nHost: a\r\n' + b'X: ' + b'y' * 400_000 + b'\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: a\r\n' + b'X: y\r\n' * 80_000 + b'\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n',
        b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
        b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',  # TLS
    ],
)
def test_what_is_no_http(site, sent):
    with connect(site) as connection:
        connection.sendall(sent)
        assert error_in(everything(connection)) == (b'400', 'malformed_request')


def test_too_many_connections(site):
    connections = [connect(site) for _ in range(4 * 8 + 8)]
    try:
        answers = []
        for connection in connections[-4:]:
            answers.append(everything(connection))
        assert [error_in(answer) for answer in answers] == [(b'503', 'busy')] * 4
    finally:
        for connection in connections:
            connection.close()
    # they are forgotten in a moment, and others have their place
    deadline = time.monotonic() + 10
    answer = b''
    while not answer.startswith(b'HTTP/1.1 200'):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        with suppress(OSError), connect(site) as connection:
            connection.sendall(b'GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
            answer = everything(connection)


def test_two_requests_in_one_packet(site):
    with connect(site) as connection:
        connection.sendall(b'GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n' * 2)
        found = b''
        while found.count(b'live') < 2:
            found += connection.recv(65536)
        assert found.count(b'HTTP/1.1 200') == 2


def test_a_body_in_chunks_whose_length_lies(site, clip):
    """The limit holds for what arrives."""
    with connect(site) as connection:
        connection.sendall(
            b'POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: video/mp4\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        chunk = b'40000\r\n' + bytes(2**18) + b'\r\n'
        try:
            for _ in range(10):
                connection.sendall(chunk)
        except OSError:
            pass
        assert error_in(answer_of(connection)) == (b'413', 'upload_too_large')
    whole = clip.read_bytes()
    with connect(site) as connection:
        connection.sendall(
            b'POST /v1/classify HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: video/mp4\r\n'
            b'Transfer-Encoding: chunked\r\n\r\n' + f'{len(whole):x}\r\n'.encode() + whole + b'\r\n0\r\n\r\n'
        )
        assert everything(connection).startswith(b'HTTP/1.1 200')


def test_a_client_that_leaves_is_dropped(site, clip):
    from tests.serving.traps import HANG

    body = clip.read_bytes() + HANG
    before = site.service.ended.value(cause='dropped')
    with connect(site) as connection:
        connection.sendall(
            b'POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Type: video/mp4\r\n'
            + f'Content-Length: {len(body)}\r\n\r\n'.encode()
            + body
        )
        time.sleep(0.3)
    deadline = time.monotonic() + 5  # less than the time for an answer
    while site.service.ended.value(cause='dropped') == before or list(site.folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ('megabytes', 'query', 'code'), [(6, '', 'upload_too_large'), (1.9, '?stride=-1', 'invalid_option')]
)
def test_refusals_reach_clients_that_first_send_everything(site, megabytes, query, code):
    """As Python's urllib does, which also wants the connection closed."""
    # in pieces, with a pause: otherwise the system may hold all of it
    pieces = iter([bytes(2**17)] * int(megabytes * 8))
    headers = {'Content-Type': 'video/mp4', 'Content-Length': str(int(megabytes * 8) * 2**17)}
    body = (time.sleep(0.005) or piece for piece in pieces)
    request = urllib.request.Request(f'{site.url}/v1/classify{query}', body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert json.load(answer)['error']['code'] == code


def test_clients_that_do_not_take_answers_lose_their_place(site):
    connections = [socket.socket() for _ in range(8)]  # as many as may have a request
    try:
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(('127.0.0.1', site.port))
            connection.settimeout(0.2)
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b'GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n' * 2000)
        for status in (503, 200):  # all places are taken, and then no more
            deadline = time.monotonic() + 20
            while site.http.get('/v1/model').status_code != status:
                assert time.monotonic() < deadline
                time.sleep(0.02)
    finally:
        for connection in connections:
            connection.close()
