import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import fsspec
import pytest

from mmav.datasets.media import open_media, remote_file
from mmav.datasets.media.remote_file import Patience, RemoteFile, is_address
from mmav.errors import MediaError, MissingMediaError


class Waits:
    """Notes how long is waited, and does not wait."""

    def __init__(self):
        self.seconds = []

    def __call__(self, seconds):
        self.seconds.append(seconds)


@pytest.fixture
def waits():
    return Waits()


def test_a_remote_clip_is_read_like_a_file(server, clip):
    server.files['film.mp4'] = clip.read_bytes()
    for manner in ('well', 'unmeasured', 'slowly'):
        file = RemoteFile(server.address(manner, 'film.mp4'))
        with open_media(file) as reader:
            assert reader.info.duration == 2.0 and reader.info.path == file
        assert file.read() == clip.read_bytes() and file.attempts == 1


def test_of_any_file_system_of_fsspec(clip):
    fsspec.filesystem('memory').pipe('/bucket/film.mp4', clip.read_bytes())
    assert RemoteFile('memory://bucket/film.mp4').read() == clip.read_bytes()
    with pytest.raises(MissingMediaError):
        RemoteFile('memory://bucket/gone.mp4').read()
    with pytest.raises(MediaError, match='s3://b/a.mp4: cannot be reached: Install s3fs'):
        RemoteFile('s3://b/a.mp4').read()
    with pytest.raises(MediaError, match='is at no known place: Protocol not known: nowhere'):
        RemoteFile('nowhere://b/a.mp4').read()


def test_what_breaks_is_tried_again(server, clip, waits, monkeypatch):
    server.files['torn.mp4'] = clip.read_bytes()
    file = RemoteFile(server.address('cut', 'torn.mp4'), Patience(tries=4, sleep=waits))
    with pytest.raises(
        MediaError, match=r'could not be fetched in 4 tries: the connection broke after \d+ of \d+ bytes'
    ):
        file.read()
    assert server.asked['torn.mp4'] == 4 and file.attempts == 4
    for seconds, middle in zip(waits.seconds, (0.5, 1.0, 2.0), strict=True):
        assert 0.5 * middle <= seconds <= 1.5 * middle
    assert len(set(waits.seconds)) == 3
    answers = iter([OSError('reset'), [b'film']])

    def give(self):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise remote_file._Again('reset')
        yield from answer

    monkeypatch.setattr(RemoteFile, '_from_web', give)
    assert file.read() == b'film' and file.attempts == 2


def test_what_is_final_is_not(server, waits):
    file = RemoteFile(server.address('well', 'never_there.mp4'), Patience(sleep=waits))
    with pytest.raises(MissingMediaError, match='no such file'):
        file.read()
    server.files['large.mp4'] = b'x' * 3000
    with pytest.raises(MediaError, match=r'has more than the 0\.001 MB that are read'):
        RemoteFile(server.address('well', 'large.mp4'), Patience(megabytes=0.001, sleep=waits)).read()
    with pytest.raises(MediaError, match='is not an address'):
        RemoteFile('http://', Patience(sleep=waits)).read()
    assert waits.seconds == [] and server.asked['never_there.mp4'] == server.asked['large.mp4'] == 1


def test_silence_and_trickles_end_with_the_timeout(server, clip, waits):
    server.files['slow.mp4'] = clip.read_bytes()
    with pytest.raises(MediaError, match=r'in 1 tries: the server was silent for 0\.2 s'):
        RemoteFile(server.address('silent', 'slow.mp4'), Patience(1, 0.2, sleep=waits)).read()
    with pytest.raises(MediaError, match=r'took longer than 0\.2 s'):
        RemoteFile(server.address('slowly', 'slow.mp4'), Patience(1, 0.2, sleep=waits)).read()


def test_a_server_says_when_to_come_back(waits):
    with socket.create_server(('127.0.0.1', 0)) as listener:

        def refuse():
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b'HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n')

        thread = threading.Thread(target=refuse)
        thread.start()
        address = f'http://127.0.0.1:{listener.getsockname()[1]}/a.mp4'
        with pytest.raises(MediaError, match='in 2 tries: the server answers 503 Busy'):
            RemoteFile(address, Patience(2, sleep=waits)).read()
        thread.join()
    assert waits.seconds == [7.0]


@pytest.mark.parametrize('target', ['ftp://127.0.0.1:1/a.mp4', 'file:///etc/hostname', '/a.mp4'])
def test_redirections_lead_to_no_other_protocol_and_not_in_circles(waits, target):
    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header('Location', target)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(('127.0.0.1', 0), Redirect) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        with pytest.raises(MediaError, match='the server answers 302') as error:
            RemoteFile(f'http://127.0.0.1:{listener.server_port}/a.mp4', Patience(2, sleep=waits)).read()
        listener.shutdown()
        thread.join()
    assert waits.seconds == [] and ('not followed' in str(error.value)) == target.startswith('ftp')


def test_an_address_with_a_password_is_refused_at_once(waits):
    with pytest.raises(MediaError, match='is not an address'):
        RemoteFile('http://me:secret@127.0.0.1/a.mp4', Patience(sleep=waits)).read()
    assert waits.seconds == []


def test_giving_up_while_it_waits():
    file = RemoteFile('http://127.0.0.1:9/a.mp4', Patience(sleep=lambda seconds: True))
    with pytest.raises(MediaError, match='in 1 tries: no connection'):
        file.read()
    assert file.stamp() == ('http://127.0.0.1:9/a.mp4', 0, 0)


@pytest.mark.parametrize('path', ['a.mp4', '/a/b.mp4', 'C:/a.mp4', '12:30.mp4', 'camera:0', '://x'])
def test_paths_are_no_addresses(path):
    assert not is_address(path)
