"""A path is opened as a file of a known media format, whatever it is called, and nothing else is."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import mmav
from mmav.datasets.media import open_media
from mmav.datasets.media.opening import check_file, open_container, path_of
from mmav.datasets.media.probe import probe
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.errors import MediaError

# Names that FFmpeg takes for a protocol, a list, a pattern, or an option.
NAMES = [
    '12:30:05.mp4', 'http:x.mp4', 'concat:a|b.mp4', 'data:,x.mp4', 'file:x.mp4', 'file:', '-x.mp4', 'pipe:0', 'cache:x',
    'subfile,,:x', 'crypto:x.mp4', 'frame.%04d.png', 'a b?#[1]*.mp4', 'new\nline.mp4', 'x.m3u8', 'no_suffix', 'x.txt',
    'x.jpg', os.fsdecode(b'caf\xe9.mp4'), 'ümläut.mp4', 'x' * 240 + '.mp4',
]  # fmt: skip


@pytest.mark.skipif(sys.platform == 'win32', reason='these names cannot be given there')
@pytest.mark.parametrize('name', NAMES)
def test_names(tmp_path, monkeypatch, clip, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, name)
    with open_media(str(clip)) as reader:
        expected = reader.read_frames([0.5])[0], reader.read_audio(0.0, 1.0, 16000)
    with open_media(name) as reader:
        np.testing.assert_array_equal(reader.read_frames([0.5])[0], expected[0])
        np.testing.assert_array_equal(reader.read_audio(0.0, 1.0, 16000), expected[1])
    with open_container(name) as container:
        assert path_of(container) == name
    os.mkdir('out')
    written = os.path.join('out', name)
    transcode(name, written, TranscodeOptions(short_side=48))
    assert probe(written).frames == probe(str(clip)).frames


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('script.mp4', 'ffconcat version 1.0\nfile clip.mp4\n'),
        ('itself.mp4', 'ffconcat version 1.0\nfile itself.mp4\n'),
        ('live.m3u8', '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nclip.mp4\n'),
        ('playlist.mp4', '#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\nclip.mp4\n#EXT-X-ENDLIST\n'),
        ('session.sdp', 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n'),
        ('manifest.mpd', '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>'),
        ('words.srt', '1\n00:00:00,000 --> 00:00:02,000\nhello\n'),
        ('words.txt', 'nothing but words\n' * 100),
        ('art.ans', '\x1b[31mred\x1b[0m\n' * 100),
        ('samples.sw', 'raw samples, by the suffix' * 100),
        ('frames.yuv', 'raw pictures, by the suffix' * 1000),
    ],
)
def test_what_is_no_media_file_of_its_own_is_refused(tmp_path, monkeypatch, clip, name, text):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, 'clip.mp4')
    (tmp_path / name).write_text(text)
    with pytest.raises(MediaError, match='is of no known format that holds its own|cannot be opened') as error:
        open_media(name)
    assert '\n' not in str(error.value)


def test_pattern_does_not_stand_for_other_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_picture('frame.0001.png', 200)
    write_picture('frame.%04d.png', 40)
    with open_media('frame.%04d.png') as reader:
        assert reader.read_frames([0.0])[0].mean() == pytest.approx(40, abs=2)
    os.remove('frame.%04d.png')
    with pytest.raises(MediaError, match='no such file'):
        open_media('frame.%04d.png')


def test_picture_is_a_clip_of_one_frame(tmp_path):
    for name in ('one.png', 'one.jpg', 'one.webp'):
        write_picture(str(tmp_path / name), 120)
        with open_media(str(tmp_path / name)) as reader:
            frames, _ = reader.read_frames([0.0, 0.02])
        assert frames.shape == (2, 32, 48, 3) and frames.mean() == pytest.approx(120, abs=3)


def test_animated_webp_is_refused_in_one_line(tmp_path):
    write_picture(str(tmp_path / 'one.webp'), 120)
    still = (tmp_path / 'one.webp').read_bytes()
    chunk = b'VP8X' + (10).to_bytes(4, 'little') + bytes([2, 0, 0, 0, 47, 0, 0, 31, 0, 0])
    (tmp_path / 'moves.webp').write_bytes(still[:12] + chunk + still[12:])
    with pytest.raises(MediaError, match='is an animated WebP, which cannot be decoded; convert it'):
        open_media(str(tmp_path / 'moves.webp'))


@pytest.mark.skipif(sys.platform == 'win32', reason='no such files there')
def test_only_regular_files(tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    os.symlink(tmp_path / 'pipe.mp4', tmp_path / 'link.mp4')
    for path in (tmp_path / 'pipe.mp4', tmp_path / 'link.mp4', '/dev/zero'):
        with pytest.raises(MediaError, match='is not a regular file'):
            check_file(str(path))
    with pytest.raises(MediaError, match='cannot be reached'):
        check_file(str(tmp_path / ('x' * 300)))
    with pytest.raises(MediaError, match='cannot be reached'):
        check_file('zero\0byte.mp4')


def test_media_is_opened_in_one_place():
    """Reading past :func:`open_container` would take names for protocols and scripts for media."""
    root = Path(mmav.__file__).parents[1]
    found = {
        path.relative_to(root).as_posix()
        for folder in ('mmav', 'tools', 'demo')
        for path in (root / folder).rglob('*.py')
        for call in re.findall(r'(?:av\.open|VideoReader)\([^)]*', path.read_text(encoding='utf-8'))
        if "'w'" not in call and 'file_url(' not in call.partition(',')[0]
    }
    assert found == {'mmav/datasets/media/opening.py', 'mmav/datasets/media/decord_reader.py'}


@pytest.fixture(scope='module')
def small(make_clip):
    """Small files of many forms."""
    common = dict(seconds=1.0, size=(16, 16), fps=10)
    mpeg4 = dict(video='mpeg4', b_frames=0)
    return [
        make_clip('fuzz.mp4', **common),
        make_clip('fuzz.mkv', **common),
        make_clip('fuzz.ts', **common),
        make_clip('fuzz.avi', audio='libmp3lame', **mpeg4, **common),
        make_clip('fuzz.webm', video='libvpx', audio='libopus', **{**common, 'sample_rate': 48000}),
        make_clip('fuzz.flv', video='flv', b_frames=0, audio='libmp3lame', **{**common, 'sample_rate': 44100}),
        make_clip('fuzz.wav', video=None, audio='pcm_s16le', **common),
        make_clip('fuzz.flac', video=None, audio='flac', **common),
        make_clip('fuzz.mp3', video=None, audio='libmp3lame', **common),
        make_clip('fuzz.ogg', video=None, audio='libopus', **{**common, 'sample_rate': 48000}),
    ]


def test_damage_of_any_kind_gives_data_or_a_media_error(small, tmp_path):
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for k in range(200):
        source = small[k % len(small)]
        path = tmp_path / f'x{source.suffix}'
        path.write_bytes(damaged(source.read_bytes(), rng))
        try:
            with open_media(str(path)) as reader:
                start, end = reader.fetch(0.0, 1.0)
                if reader.info.has_video:
                    reader.read_frames([start, 0.5], short_side=16)
                if reader.info.has_audio and end > start:
                    reader.read_audio(start, end, 16000)
            outcomes[True] += 1
        except MediaError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 10


def damaged(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    place = rng.randrange(len(found))
    match rng.randrange(5):
        case 0:
            for _ in range(rng.choice([1, 3, 20])):
                found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
        case 1:
            del found[max(1, place) :]
        case 2:
            found[place : place + 64] = rng.randbytes(64)
        case 3:
            found[place : place + 4] = rng.choice([b'\xff' * 4, b'\x7f\xff\xff\xff', bytes(4)])
        case 4:
            found[place:place] = found[place : place + 300]
    return bytes(found)


def write_picture(path: str, grey: int) -> None:
    cv2 = pytest.importorskip('cv2')
    path, name = os.path.split(path)
    # OpenCV, too, has a mind of its own about names.
    plain = os.path.join(path, f'plain{os.path.splitext(name)[1]}')
    assert cv2.imwrite(plain, np.full((32, 48, 3), grey, np.uint8))
    os.replace(plain, os.path.join(path, name))
