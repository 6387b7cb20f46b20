import asyncio
import logging

import pytest

from mmav.serving.gate import ACCESS, Gate


def call(gate, path='/a', method='GET', headers=(), body=b'abc'):
    """Sends a request; gives status, headers and body."""
    sent = []

    async def receive():
        return dict(type='http.request', body=body)

    async def send(message):
        sent.append(message)

    asyncio.run(gate(dict(type='http', method=method, path=path, headers=list(headers)), receive, send))
    return sent and (
        sent[0]['status'],
        dict(sent[0].get('headers', [])),
        b''.join(each.get('body', b'') for each in sent),
    )


async def app(scope, receive, send):
    """Answers with what it receives."""
    if scope['path'] == '/fail':
        raise RuntimeError('a secret')
    if scope['path'] != '/gone':
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=(await receive())['body'] * 2))


@pytest.fixture
def lines(monkeypatch):
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    ACCESS.addHandler(handler)
    before = ACCESS.level
    ACCESS.setLevel(logging.INFO)
    yield found
    ACCESS.setLevel(before)
    ACCESS.removeHandler(handler)


@pytest.fixture
def gate():
    return Gate(app, paths=['/a', '/fail'], token=None, connections=2)


def test_counts_and_a_line_of_the_log(gate, lines):
    assert call(gate) == (200, {}, b'abcabc')
    assert gate.requests.value(method='GET', path='/a', status=200) == 1 and gate.bytes.value() == 3
    assert lines[0].startswith('GET /a 200 ') and lines[0].endswith(' ms 3 bytes in 6 out')


def test_words_of_clients_stay_out_of_the_log(gate, lines):
    call(gate, path='/secret\nGET /forged', method='EVIL')
    assert lines[0].startswith('(other) (other) 200 ')
    assert gate.requests.value(method='(other)', path='(other)', status=200) == 1


def test_failures_show_nothing(gate, lines, caplog):
    status, headers, text = call(gate, '/fail')
    assert status == 500 and b'internal' in text and b'secret' not in text and 'a secret' in caplog.text
    assert gate.open == 0 and headers[b'content-type'] == b'application/json'


def test_clients_that_left_are_counted(gate):
    assert call(gate, '/gone') == []
    assert gate.requests.value(method='GET', path='(other)', status=499) == 1


def test_too_many_at_a_time(gate):
    gate.open = 2
    status, headers, text = call(gate)
    assert status == 503 and headers[b'retry-after'] == b'1' and b'busy' in text
    assert call(gate, '/health/live')[0] == 200 and gate.open == 2


@pytest.mark.parametrize(
    'sent', [b'', b'Bearer', b'Bearer x', b'Basic sesame', b'sesame', b'Bearer sesame x', b'\xff \xff']
)
def test_tokens(sent):
    gate = Gate(app, paths=['/a'], token='sesame', connections=2)
    status, headers, _ = call(gate, headers=[(b'authorization', sent)])
    assert status == 401 and headers[b'www-authenticate'] == b'Bearer'
    assert call(gate, headers=[(b'authorization', b'Bearer sesame')])[0] == 200
    assert call(gate, '/health/live')[0] == 200


def test_connections_end_with_the_server(gate):
    gate.stopping = lambda: True
    assert call(gate)[1] == {b'connection': b'close'}


def test_no_sockets_of_the_web(gate):
    asyncio.run(gate(dict(type='websocket', path='/a'), None, None))
    assert gate.requests.lines() == []
