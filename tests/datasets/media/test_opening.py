"""A path is opened as a file of a known media format, whatever it is called, and within limits, and nothing else is."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import mmav
from mmav.datasets.media import Limits, open_media
from mmav.datasets.media.opening import Watch, check_file
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
    files = {'mmav/datasets/media/opening.py', 'mmav/datasets/media/decord_reader.py'}
    # live sources are opened by rules of their own, see tests/datasets/media/live
    assert found == files | {'mmav/datasets/media/live/sources.py'}


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


def test_limits_must_be_above_zero():
    with pytest.raises(ValueError, match='limits: seconds must be above 0, got 0'):
        Limits(seconds=0)


@pytest.mark.parametrize('suffix', ['mkv', 'mp4', 'avi'])
@pytest.mark.parametrize('size', [(2000, 2), (1, 400)])
def test_narrow_pictures_are_not_scaled_up_without_bound(tmp_path, size, suffix):
    path = write_frames(tmp_path / f'narrow.{suffix}', [size] * 3)
    with open_media(path) as reader:
        assert reader.read_frames([0.0])[0].shape == (1, *size, 3)
        with pytest.raises(MediaError, match='are more than 64 times as long as wide, .* aspect of the limits'):
            reader.read_frames([0.0], short_side=224)
    with open_media(path, limits=Limits(aspect=2000)) as reader:
        assert min(reader.read_frames([0.0], short_side=4)[0].shape[1:3]) == 4


def test_large_pictures(tmp_path):
    path = write_frames(tmp_path / 'large.mp4', [(96, 128)] * 3)
    with pytest.raises(MediaError, match='pixels.*12,000.* limits'):
        open_media(path, limits=Limits(pixels=12000)).read_frames([0.0])
    with open_media(path, limits=Limits(clip_pixels=40000)) as reader:
        reader.read_frames([0.0, 0.2])
        reader.read_frames([0.0] * 12, short_side=32)
        with pytest.raises(MediaError, match='12 frames of 128 x 96 pixels are more than the 40,000 .* clip_pixels'):
            reader.read_frames([0.0] * 12)


def test_a_large_picture_without_a_container_is_not_decoded(tmp_path, monkeypatch):
    path = write_frames(tmp_path / 'large.png', [(96, 128)], form='image2')
    with open_media(path) as reader:
        assert reader.read_frames([0.0])[0].shape == (1, 96, 128, 3)
    with (
        pytest.raises(MediaError, match='nor its size be told.* above pixels=12,000'),
        open_media(path, limits=Limits(pixels=12000)) as reader,
    ):
        reader.read_frames([0.0])


def test_pictures_that_grow_in_mid_stream(tmp_path):
    path = write_frames(tmp_path / 'grows.mkv', [(16, 16)] * 3 + [(256, 256)] * 3)
    with open_media(path, limits=Limits(pixels=30000)) as reader:
        frames, times = reader.read_frames([0.0, 0.5])
        assert frames.shape == (2, 16, 16, 3) and times.max() == pytest.approx(0.2)
        assert reader.info.damaged


def test_time(clip, monkeypatch):
    clock = iter(range(0, 10**9, 50))
    monkeypatch.setattr('mmav.datasets.media.opening.time.thread_time', lambda: next(clock))
    with pytest.raises(MediaError, match='took longer than 120 s; raise seconds of the limits to allow it'):
        open_media(str(clip)).read_frames([0.0, 1.9])
    with open_media(str(clip), limits=Limits(seconds=1e9)) as reader:
        reader.read_frames([0.0, 1.9])
    result = probe(str(clip))
    assert 'took longer than 120 s' in result.error


def test_a_single_jump_may_be_damage():
    watch, packet = Watch('x', Limits(gap=10.0)), av.Packet(1)
    for second in (0.0, 500.0, 0.1, 9.0, 500.0, 9.5):
        watch.check_packet(packet, second)
    watch.begin_pass()
    watch.check_packet(packet, 500.0)
    watch.check_packet(packet, 900.0)
    with pytest.raises(MediaError, match=r'jump from 500.0 s to 900.1 s, with nothing between.* gap of the limits'):
        watch.check_packet(packet, 900.1)


def test_the_size_in_the_header_is_enough(clip):
    with pytest.raises(
        MediaError, match='have 64 x 48 pixels, more than the 3,000 allowed; raise pixels of the limits'
    ):
        open_media(str(clip), limits=Limits(pixels=3000))


def test_encrypted_files(tmp_path, clip):
    """Those with Common Encryption, as ffmpeg, too, writes them."""
    key = dict(encryption_scheme='cenc-aes-ctr', encryption_key='76a6c65c5ea762046bd749a2e632ccbb')
    options = dict(**key, encryption_kid='a7e61c373e219033c21091fa607bf3b8')
    with av.open(str(clip)) as read, av.open(str(tmp_path / 'drm.mp4'), 'w', options=options) as write:
        tracks = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.size:
                packet.stream = tracks[packet.stream_index]
                write.mux(packet)
    assert probe(str(tmp_path / 'drm.mp4')).error == 'is encrypted (DRM); only a decrypted copy can be read'


@pytest.mark.parametrize('suffix', ['mkv', 'mp4'])
def test_time_stamps_that_leap_by_a_day(tmp_path, suffix):
    path = write_frames(tmp_path / f'leaps.{suffix}', [(16, 16)] * 10, times=[*range(5), *range(864000, 864005)])
    result = probe(path)
    assert 'its time stamps jump from 0.4 s to 864' in result.error
    assert probe(path, limits=Limits(gap=1e6)).frames == 10


@pytest.mark.parametrize('suffix', ['mkv', 'mp4'])
def test_time_stamps_that_begin_at_huge_values(tmp_path, suffix):
    path = write_frames(tmp_path / f'late.{suffix}', [(16, 16)] * 10, times=range(10**7, 10**7 + 10))
    with open_media(path) as reader:
        times = reader.read_frames([0.0, 0.5])[1]
    np.testing.assert_allclose(times, [0.0, 0.5], atol=1e-3)
    assert probe(path).frames == 10


def write_frames(path, sizes, *, times=None, form=None) -> str:
    """Pictures of any size, each a keyframe, at tenths of a second; noise, so that they do not shrink to nothing."""
    rng = np.random.default_rng(0)
    codec = 'mjpeg' if path.suffix in ('.avi', '.mkv') else 'png'
    with av.open(str(path), 'w', format=form, options={'update': '1'} if form else {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = sizes[0]
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'rgb24'
        for time, size in zip(times or range(len(sizes)), sizes, strict=True):
            encoder = av.CodecContext.create(codec, 'w')
            encoder.height, encoder.width = size
            encoder.pix_fmt, encoder.time_base = stream.pix_fmt, Fraction(1, 10)
            frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8), format='rgb24')
            for packet in encoder.encode(frame.reformat(format=stream.pix_fmt)):
                packet.stream, packet.pts, packet.dts = stream, time, time
                packet.time_base = Fraction(1, 10)
                container.mux(packet)
    return str(path)


def test_sound_that_is_held_at_once(clip):
    with open_media(str(clip), limits=Limits(samples=20000)) as reader:
        assert len(reader.read_audio(0.0, 1.0, 8000)) == 8000
        with pytest.raises(MediaError, match='2 s of its audio are more than the 20,000 samples .* shorter window'):
            reader.read_audio(0.0, 2.0, 8000)
