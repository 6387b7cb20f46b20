"""Uploads of an attacker: none reaches files or the network, ends the server, or leaves anything behind."""

import io
import socket
import struct
import threading
import time
import zipfile
import zlib
from dataclasses import replace

import av
import pytest

from tests.serving.test_app import error_of
from tests.serving.traps import FAIL, FILL, HANG, KILL, WRITE

MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="urn:mpeg:dash:profile:'
    'isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1"><BaseURL>TARGET</BaseURL>'
    '</Representation></AdaptationSet></Period></MPD>'
)


@pytest.fixture
def canary(clip, tmp_path):
    """A clip that a hostile upload may want to reach, and the address of a server that counts who asks for it."""
    path = tmp_path / 'canary.mp4'
    path.write_bytes(clip.read_bytes())
    asked = []
    listener = socket.create_server(('127.0.0.1', 0))

    def count():
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            asked.append(address)
            connection.close()

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    yield path, f'http://127.0.0.1:{listener.getsockname()[1]}/canary.mp4', asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture(autouse=True)
def _survives(site, ask, clip):
    """After each attack the server answers, with as many processes, and the folder of uploads is empty."""
    yield
    assert ask(clip.read_bytes()).status_code == 200
    deadline = time.monotonic() + 10
    while site.service._pool.running < 2 or list(site.folder.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def playlists(path, url):
    """Files that FFmpeg would follow to others, under their kind."""
    for name, target in (('file', f'file:{path}'), ('path', str(path)), ('http', url)):
        yield f'hls {name}', f'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n'
        yield f'hls in mp4 {name}', f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n'
        yield f'concat {name}', f"ffconcat version 1.0\nfile '{target}'\n"
        yield (
            f'dash {name}',
            MPD.replace('TARGET', target),
        )
        yield f'reference {name}', f'[Reference]\nRef1={target}\n'
        yield f'smil {name}', f'<smil><body><video src="{target}"/></body></smil>'
        yield f'svg {name}', f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>'
    port = url.split(':')[2].split('/')[0]
    yield (
        'sdp',
        f'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n',
    )
    yield 'metadata', f';FFMETADATA1\ntitle={path}\n'


def test_playlists_and_scripts_reach_nothing(ask, canary):
    path, url, asked = canary
    for kind, text in playlists(path, url):
        answer = ask(text.encode())
        assert error_of(answer)[0] == 'unreadable_clip', kind
        assert str(path) not in answer.text
    assert asked == []


def boxes(data, start=0, end=None):
    """Type, start and size of the boxes of an mp4 file, on one level."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack('>I4s', data[start : start + 8])
        yield kind, start, size
        start += size


def with_reference(data, kind, target):
    """An mp4 file whose media lie elsewhere: the data reference of each track names another file."""
    data, at = bytearray(data), 0
    if kind == b'alis':
        # the record of an alias: FFmpeg reads volume, folder and name from it
        entry = struct.pack('>4sI', b'alis', 0) + bytes(10) + bytes([4]) + b'disk'.ljust(27, b'\0') + bytes(12)
        name = target.encode()[-63:]
        entry += bytes([len(name)]) + name.ljust(63, b'\0') + bytes(16)
        entry += struct.pack('>HH', 1, 1) + bytes(16) + struct.pack('>HH', 2, len(target)) + target.encode()
        entry += bytes(len(target) % 2) + struct.pack('>HH', 0xFFFF, 0)
    else:
        entry = struct.pack('>4sI', kind, 0) + target.encode() + b'\0'
    entry = struct.pack('>I', 4 + len(entry)) + entry
    while (at := data.find(b'dref', at)) >= 0:
        begin = at - 4
        size = struct.unpack('>I', data[begin:at])[0]
        new = struct.pack('>I4sII', 16 + len(entry), b'dref', 0, 1) + entry
        _grow(data, begin, len(new) - size)
        data[begin : begin + size] = new
        at = begin + len(new)
    return bytes(data)


def _grow(data, inside, more):
    """Adds to the sizes of all boxes around a place."""
    start, end = 0, len(data)
    while True:
        for _, begin, size in boxes(data, start, end):
            if begin < inside < begin + size:
                data[begin : begin + 4] = struct.pack('>I', size + more)
                start, end = begin + 8, begin + size
                break
        else:
            return


def emptied(data):
    """An mp4 file whose own media are zeros: pictures could only come from another file."""
    (media,) = ((begin, size) for name, begin, size in boxes(data) if name == b'mdat')
    return data[: media[0] + 8] + bytes(media[1] - 8) + data[sum(media) :]


def test_the_canary_would_be_reached_without_care(canary, tmp_path):
    """What FFmpeg does by itself: so the test above can fail."""
    path, url, asked = canary
    kinds = dict(playlists(path, url))
    (tmp_path / 'a.ffconcat').write_text(kinds['concat path'])
    with av.open(str(tmp_path / 'a.ffconcat'), options=dict(safe='0')) as container:
        assert len(container.streams) == 2
    (tmp_path / 'a.m3u8').write_text(kinds['hls http'])
    with pytest.raises(av.FFmpegError):
        av.open(str(tmp_path / 'a.m3u8'), options=dict(extension_picky='0', protocol_whitelist='file,http,tcp'))
    assert asked
    (tmp_path / 'a.mp4').write_bytes(emptied(with_reference(path.read_bytes(), b'alis', str(path))))
    with av.open(str(tmp_path / 'a.mp4'), options=dict(enable_drefs='1', use_absolute_path='1')) as container:
        assert len(list(container.decode(video=0))) == 24


@pytest.mark.parametrize('kind', [b'url ', b'urn ', b'alis'])
def test_references_inside_mp4_reach_nothing(ask, canary, kind):
    path, url, asked = canary
    whole = path.read_bytes()
    for target in (f'file://{path}', str(path), url):
        head = with_reference(whole, kind, target)
        assert error_of(ask(emptied(head)))[0] == 'unreadable_clip'
        assert ask(head).status_code in (200, 422)  # it has its own media, too
    assert asked == []


def test_polyglots_are_what_their_media_say(ask, clip, canary):
    path, _, asked = canary
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('../../evil.txt', 'x' * 1000)
        file.write(clip, 'a.mp4')
    plain = ask(clip.read_bytes()).json()
    assert ask(clip.read_bytes() + archive.getvalue()).json() == plain
    assert error_of(ask(archive.getvalue()))[0] == 'unreadable_clip'
    script = f"ffconcat version 1.0\nfile '{path}'\n".encode()
    assert error_of(ask(script + clip.read_bytes()))[0] == 'unreadable_clip'
    for head in (b'\0', b'\0' * 5000, b'GIF89a', b'%PDF-1.7\n', b'\x7fELF', b'RIFF\xff\xff\xff\xffAVI LIST', b'ID3'):
        assert ask(head + b'#EXTM3U\n' + str(path).encode()).status_code == 422
    assert asked == []


def png(width, height):
    """A picture of zeros, packed by a factor of a thousand."""
    packer, row = zlib.compressobj(), bytes(1 + width * 3)
    body = b''.join([packer.compress(row) for _ in range(height)] + [packer.flush()])
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    pieces = ((b'IHDR', head), (b'IDAT', body), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data)) for name, data in pieces
    )


def test_bombs(site, ask, clip, silent, make_clip):
    # 900 million pixels, of which the header tells
    head = png(1, 1).replace(struct.pack('>II', 1, 1), struct.pack('>II', 30000, 30000), 1)
    assert ask(head).status_code == 422
    assert ask(png(3000, 3000)).status_code in (200, 422)
    # ten thousand tracks
    whole = silent.read_bytes()
    (moov,) = ((begin, size) for name, begin, size in boxes(whole) if name == b'moov')
    (trak,) = ((begin, size) for name, begin, size in boxes(whole, moov[0] + 8, sum(moov)) if name == b'trak')
    count = 10_000 if trak[1] < 180 else 1_900_000 // trak[1]
    tracks = whole[trak[0] : sum(trak)] * count
    many = whole[: moov[0]] + struct.pack('>I4s', moov[1] + len(tracks), b'moov')
    many += whole[moov[0] + 8 : sum(moov)] + tracks + whole[sum(moov) :]
    assert ask(many).status_code in (200, 422)
    # time stamps without an end
    long = bytearray(clip.read_bytes())
    for name in (b'mvhd', b'mdhd', b'tkhd'):
        at = long.find(name)
        for offset in (16, 20, 24):
            long[at + 4 + offset : at + 8 + offset] = b'\x7f\xff\xff\xff'
    assert ask(bytes(long)).status_code in (200, 422)
    at = long.find(b'stts')
    long[at + 16 : at + 20] = b'\x7f\xff\xff\xff'
    assert ask(bytes(long)).status_code in (200, 422)


def test_torn_files(ask, clip):
    whole = clip.read_bytes()
    for part in (whole[:1], whole[:100], whole[: len(whole) // 2], whole[len(whole) // 2 :], bytes(10_000)):
        assert error_of(ask(part))[0] == 'unreadable_clip'


def test_a_crash_of_the_decoder_costs_one_request(site, ask, clip):
    before = site.service.ended.value(cause='crash')
    for _ in range(3):
        assert error_of(ask(clip.read_bytes() + KILL)) == (
            'decoder_crashed',
            'The clip ended the process that read it.',
        )
    assert site.service.ended.value(cause='crash') == before + 3


def test_a_hanging_decoder_is_ended(site, ask, clip, monkeypatch):
    before = site.service.ended.value(cause='late')
    monkeypatch.setattr(site.service, 'limits', replace(site.service.limits, timeout=0.4))
    assert error_of(ask(clip.read_bytes() + HANG))[0] == 'timeout'
    monkeypatch.undo()
    deadline = time.monotonic() + 10
    while site.service.ended.value(cause='late') == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_memory_and_files_are_out_of_reach(site, ask, clip, capfd):
    code, text = error_of(ask(clip.read_bytes() + FILL))
    assert code == 'unreadable_clip' and 'needs more memory' in text
    code, text = error_of(ask(clip.read_bytes() + WRITE))
    assert code == 'unreadable_clip'
    code, text = error_of(ask(clip.read_bytes() + FAIL))
    assert (code, text) == ('unreadable_clip', 'The clip cannot be read.')


def test_names_are_never_paths(site, clip):
    for name in ('/etc/passwd', '../../../x.mp4', 'a\0b', 'x' * 3000, 'con', '%n%n', 'a.npy', 'a.npz'):
        answer = site.http.post('/v1/classify', files=dict(video=(name, clip.read_bytes())))
        assert answer.status_code == 200 or error_of(answer)[0] == 'malformed_request'
    arrays = io.BytesIO()
    with zipfile.ZipFile(arrays, 'w') as file:
        file.writestr('video.npy', b'\x93NUMPY')
    answer = site.http.post('/v1/classify', files=dict(video=('a.npz', arrays.getvalue())))
    assert error_of(answer)[0] == 'unreadable_clip'
