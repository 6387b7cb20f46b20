import threading
from types import SimpleNamespace

import pytest

from mmav.web import live as web_live
from mmav.web.demo import Limits, PageInferencer, WebDemo
from mmav.web.live import LiveDesk, RefusedPiece
from mmav.web.page import answer_html
from mmav.web.server import Gate
from tests.inference.models import config, write_model

TOKEN = '0123456789abcdef'


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    return WebDemo(PageInferencer(*write_model(tmp_path_factory.mktemp('model'), config()), device='cpu'))


@pytest.fixture
def desk(demo, monkeypatch):
    monkeypatch.setattr(web_live, 'PAUSE', 0.0)
    return LiveDesk(demo, answer_html, streams=2)


@pytest.fixture
def client(desk, tmp_path):
    testclient = pytest.importorskip('starlette.testclient')

    async def app(scope, receive, send):
        raise AssertionError('a piece went through the gate')

    return testclient.TestClient(Gate(app, str(tmp_path), limits=Limits(), live=desk))


def post(client, data, token=TOKEN, **headers):
    return client.post(web_live.PATH, content=data, headers={'x-mmav-live': token, **headers})


@pytest.fixture
def piece(make_clip):
    """As a browser records one: without a length in its header."""
    options = dict(video='libvpx', encoder={'deadline': 'realtime', 'cpu-used': '8'}, audio='libopus')
    return make_clip('recorded.webm', sample_rate=48000, muxer={'live': '1'}, **options)


def test_a_piece_is_answered_as_the_file_is(client, demo, piece, tmp_path):
    reply = post(client, piece.read_bytes())
    assert reply.status_code == 200 and reply.json()['seconds'] > 0
    assert reply.json()['html'] == answer_html(demo.classify(str(piece), 'video and audio'))
    only = post(client, piece.read_bytes(), **{'x-mmav-use': 'audio only'}).json()['html']
    assert 'the prediction is based on the audio alone' in only
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_piece_gets_a_sentence(client, broken, make_clip, tmp_path, monkeypatch):
    long = make_clip('live_six_seconds.mp4', seconds=6.0, audio=None).read_bytes()
    playlist = b'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n'
    for data, sentence in (
        (b'', 'cannot be read'),
        (b'A page', 'cannot be read'),
        (playlist, 'cannot be read'),
        (b'ffconcat version 1.0\nfile /etc/passwd\n', 'cannot be read'),
        (long, 'The clip is 6.0 s long; this page takes 5 s at most'),
    ):
        reply = post(client, data)
        assert reply.status_code == 422, reply.text
        assert '/etc' not in reply.text and 'Traceback' not in reply.text
        assert sentence in reply.json()['error'] or 'is ' in reply.json()['error']
    assert post(client, b'x', **{'x-mmav-use': 'smell'}).status_code == 422
    monkeypatch.setattr(web_live, 'LARGEST_PIECE', 0.001)
    assert post(client, long).status_code == 413


def test_requests_of_other_pages_are_refused(client, desk, piece):
    data = piece.read_bytes()
    for token in ('', 'short', 'x' * 65, 'a b c d e f g'):
        assert post(client, data, token).status_code == 400
    assert client.post(web_live.PATH, content=data).status_code == 400
    for method in ('GET', 'OPTIONS', 'PUT', 'DELETE'):  # OPTIONS is what another page's browser asks first
        assert client.request(method, web_live.PATH).status_code == 404
    assert client.post(web_live.PATH, content=iter([data]), headers={'x-mmav-live': TOKEN}).status_code == 413
    desk.demo, kept = None, desk.demo
    assert post(client, data).status_code == 500 and 'NoneType' not in post(client, data).text
    desk.demo = kept


def test_visitors_and_pieces_are_limited(desk, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(web_live, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(web_live, 'PAUSE', 0.3)

    def status(token):
        try:
            desk.admit({b'x-mmav-live': token, b'content-length': b'10'})
        except RefusedPiece as refusal:
            return refusal.status
        return 200

    assert [status(name * 8) for name in (b'a', b'b', b'c', b'a')] == [200, 200, 503, 429]
    now[0] += 0.4
    assert [status(name * 8) for name in (b'a', b'b', b'c')] == [200, 200, 503]
    now[0] += web_live.AWAY + 1
    assert [status(name * 8) for name in (b'c', b'd', b'a')] == [200, 200, 503]


def test_a_busy_model_lets_no_piece_wait(client, demo, piece):
    go_on = threading.Event()
    working = threading.Thread(target=demo._in_time, args=(go_on.wait,))
    working.start()
    while not demo._asked:
        pass
    reply = post(client, piece.read_bytes())
    assert reply.status_code == 429 and reply.json()['error'] == 'The model is busy.'
    go_on.set()
    working.join()
    while demo._asked:
        pass
    assert post(client, piece.read_bytes()).status_code == 200


def test_without_a_desk_there_is_no_such_place(tmp_path):
    testclient = pytest.importorskip('starlette.testclient')
    client = testclient.TestClient(Gate(None, str(tmp_path), limits=Limits()))
    assert post(client, b'x').status_code == 404


def test_pieces_are_as_long_as_a_window(desk):
    assert (desk.window, desk.stride) == (2.0, 1.0)
