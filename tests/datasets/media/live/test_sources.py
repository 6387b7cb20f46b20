import os
import sys
import threading
import time

import av
import pytest

from mmav.datasets.media import Limits
from mmav.datasets.media.live import sources
from mmav.datasets.media.live.sources import PipeFile, list_live, open_live, without_password
from mmav.errors import ConfigError, MediaError, MissingMediaError

LINUX = [
    ('camera:0', 'device', '/dev/video0', 'v4l2', ('video',)),
    ('camera:/dev/v4l/by-id/x', 'device', '/dev/v4l/by-id/x', 'v4l2', ('video',)),
    ('microphone:default', 'device', 'default', 'alsa', ('audio',)),
    ('rtsp://me:secret@host/1', 'network', 'rtsp://me:secret@host/1', '', ('video', 'audio')),
    ('-', 'pipe', '', '', ('video', 'audio')),
]


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'linux')


@pytest.mark.parametrize(('text', 'kind', 'url', 'form', 'modalities'), LINUX)
def test_what_a_source_is(linux, text, kind, url, form, modalities):
    (source,) = list_live(text)
    assert (source.kind, source.url, source.format, source.modalities) == (kind, url, form, modalities)
    assert 'secret' not in source.name and source.waits == (kind != 'device')


def test_camera_and_microphone(linux, clip, monkeypatch):
    for given in ('microphone:default + camera:1', ['microphone:default', 'camera:1']):
        assert [each.url for each in list_live(given)] == ['/dev/video1', 'default']
    assert [each.modalities for each in list_live([clip, clip])] == [('video',), ('audio',)]
    monkeypatch.setattr(sys, 'platform', 'darwin')
    (both,) = list_live('camera:0 + microphone:1')
    assert (both.url, both.format, both.modalities) == ('0:1', 'avfoundation', ('video', 'audio'))
    assert list_live('microphone:1')[0].url == 'none:1'
    monkeypatch.setattr(sys, 'platform', 'win32')
    (both,) = list_live(['camera:Front Camera', 'microphone:Mic (USB)'])
    assert (both.url, both.format) == ('video=Front Camera:audio=Mic (USB)', 'dshow')


def test_files_pipes_and_devices(clip, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    kinds = {str(clip): 'file', str(tmp_path / 'pipe'): 'pipe', '/dev/null': 'device'}
    assert {path: list_live(path)[0].kind for path in kinds} == kinds


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('camra:0', "no live source 'camra:0': .*did you mean 'camera'"),
        ('htp://host/1', "an address begins with http, .*did you mean 'http'"),
        ('file:///etc/passwd', "no live source 'file:///etc/passwd'"),
        ('camera:', "'camera:' names no camera: give camera:0"),
        ('test:soon', 'give the seconds of the test pattern'),
        (['camera:0', 'camera:1'], 'two sources of video: give a camera and a microphone'),
        (['rtsp://a/1', 'microphone:default'], "'rtsp://a/1' cannot be combined"),
        (['camera:0', 'microphone:a', 'microphone:b'], '3 live sources'),
        ('.', "'.' is a folder"),
        ([], 'there is no live source'),
    ],
)
def test_mistakes_are_one_line(linux, given, message):
    with pytest.raises(ConfigError, match=message):
        list_live(given)


def test_a_missing_file():
    with pytest.raises(MissingMediaError, match=r'gone\.mp4: no such file, and no live source of this name'):
        list_live('gone.mp4')


def test_what_ffmpeg_may_open(monkeypatch):
    """A server's playlist may not name files of this machine."""
    asked = {}
    monkeypatch.setattr(av, 'open', lambda file, **settings: asked.update(settings))
    for scheme in sources.PROTOCOLS:
        open_live(list_live(f'{scheme}://host/1')[0], limits=Limits(), timeout=3.0)
        protocols = asked['options']['protocol_whitelist'].split(',')
        assert not {'file', 'pipe', 'fd', 'concat', 'subfile', 'unix', 'ALL'} & set(protocols)
        assert asked['timeout'] == 3.0 and 'concat' not in asked['options']['format_whitelist'].split(',')


@pytest.mark.parametrize('kind', ['v4l2', 'alsa'])
def test_a_device_is_opened_by_its_format(linux, monkeypatch, kind):
    asked = {}
    monkeypatch.setattr(av, 'open', lambda file, **settings: asked.update(settings, file=file))
    monkeypatch.setattr(sources, '_ALSA_SETTINGS', '/no/such/folder')
    (source,) = list_live('camera:2' if kind == 'v4l2' else 'microphone:hw:1')
    open_live(source, limits=Limits(), timeout=3.0)
    assert (asked['file'], asked['format']) == (('/dev/video2', 'v4l2') if kind == 'v4l2' else ('hw:1', 'alsa'))
    monkeypatch.setattr(av, 'formats_available', {'mp4'})
    with pytest.raises(MediaError, match=f'PyAV was built without {kind}'):
        open_live(source, limits=Limits(), timeout=3.0)


def test_a_playlist_of_a_server_opens_no_file(server, clip, tmp_path):
    (tmp_path / 'secret.ts').write_bytes(clip.read_bytes())
    lines = ['#EXTM3U', '#EXT-X-TARGETDURATION:2', '#EXTINF:2,', f'file://{tmp_path}/secret.ts', '#EXT-X-ENDLIST', '']
    server.files['list.m3u8'] = '\n'.join(lines).encode()
    (source,) = list_live(server.address('well', 'list.m3u8'))
    with pytest.raises(MediaError):
        open_live(source, limits=Limits(), timeout=5.0)


def test_what_cannot_be_opened(broken):
    for path, reason in ((broken['text'], 'cannot be opened'), (broken['empty'], 'empty file')):
        with pytest.raises(MediaError, match=reason):
            open_live(list_live(path)[0], limits=Limits(), timeout=5.0)
    with pytest.raises(MediaError, match='cannot be opened: Connection refused'):
        open_live(list_live('http://127.0.0.1:1/a')[0], limits=Limits(), timeout=5.0)
    with pytest.raises(MediaError, match=r'me:\*\*\*@127'):
        open_live(list_live('http://me:secret@127.0.0.1:1/a')[0], limits=Limits(), timeout=5.0)
    assert without_password('http://host/a:b@c') == 'http://host/a:b@c'


def test_a_pipe_waits_for_its_writer_and_no_longer_than_told(tmp_path):
    path = str(tmp_path / 'pipe')
    os.mkfifo(path)
    with pytest.raises(TimeoutError, match=r'nothing came for 0\.15 s'):
        PipeFile(path, timeout=0.15).read(10)
    assert PipeFile(path, timeout=60, stopped=lambda: True).read(10) == b''
    pipe = PipeFile(path, timeout=30)

    def write():
        time.sleep(0.1)
        with open(path, 'wb') as file:
            file.write(b'film')

    thread = threading.Thread(target=write)
    thread.start()
    assert pipe.read(10) == b'film' and pipe.read(10) == b''
    thread.join()
    pipe.close()
