"""Whatever a file holds or says, reading it is bounded, and what goes beyond is refused with the limit's name."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media import Limits, open_media
from mmav.datasets.media.limits import Watch
from mmav.datasets.media.probe import probe
from mmav.errors import MediaError


def test_limits_must_be_above_zero():
    with pytest.raises(ValueError, match='limits: seconds must be above 0, got 0'):
        Limits(seconds=0)


@pytest.mark.parametrize('suffix', ['mkv', 'mp4', 'avi'])
@pytest.mark.parametrize('size', [(2000, 2), (1, 400)])
def test_narrow_pictures_are_not_scaled_up_without_bound(tmp_path, size, suffix):
    path = write(tmp_path / f'narrow.{suffix}', [size] * 3)
    with open_media(path) as reader:
        assert reader.read_frames([0.0])[0].shape == (1, *size, 3)
        with pytest.raises(MediaError, match='is more than 64 times as long as wide, .* aspect of the limits'):
            reader.read_frames([0.0], short_side=224)
    with open_media(path, limits=Limits(aspect=2000)) as reader:
        assert min(reader.read_frames([0.0], short_side=4)[0].shape[1:3]) == 4


def test_large_pictures(tmp_path):
    path = write(tmp_path / 'large.mp4', [(96, 128)] * 3)
    with pytest.raises(MediaError, match='pixels.*12,000.* limits'):
        open_media(path, limits=Limits(pixels=12000)).read_frames([0.0])
    with open_media(path, limits=Limits(clip_pixels=40000)) as reader:
        reader.read_frames([0.0, 0.2])
        reader.read_frames([0.0] * 12, short_side=32)
        with pytest.raises(MediaError, match='12 frames of 128 x 96 pixels are more than the 40,000 .* clip_pixels'):
            reader.read_frames([0.0] * 12)


def test_a_large_picture_without_a_container_is_not_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / 'large.png', [(96, 128)], form='image2')
    with open_media(path) as reader:
        assert reader.read_frames([0.0])[0].shape == (1, 96, 128, 3)
    with (
        pytest.raises(MediaError, match='nor its size be told.* above pixels=12,000'),
        open_media(path, limits=Limits(pixels=12000)) as reader,
    ):
        reader.read_frames([0.0])


def test_pictures_that_grow_in_mid_stream(tmp_path):
    path = write(tmp_path / 'grows.mkv', [(16, 16)] * 3 + [(256, 256)] * 3)
    with open_media(path, limits=Limits(pixels=30000)) as reader:
        frames, times = reader.read_frames([0.0, 0.5])
        assert frames.shape == (2, 16, 16, 3) and times.max() == pytest.approx(0.2)
        assert reader.info.damaged


def test_time(clip, monkeypatch):
    clock = iter(range(0, 10**9, 50))
    monkeypatch.setattr('mmav.datasets.media.limits.time.thread_time', lambda: next(clock))
    with pytest.raises(MediaError, match='took longer than 120 s; raise seconds of the limits to allow it'):
        open_media(str(clip)).read_frames([0.0, 1.9])
    with open_media(str(clip), limits=Limits(seconds=1e9)) as reader:
        reader.read_frames([0.0, 1.9])
    result = probe(str(clip))
    assert 'took longer than 120 s' in result.error


def test_one_leap_alone_may_be_damage():
    watch, packet = Watch('x', Limits(gap=10.0)), av.Packet(1)
    for second in (0.0, 500.0, 0.1, 9.0, 500.0, 9.5):
        watch.check_packet(packet, second)
    watch.begin_pass()
    watch.check_packet(packet, 500.0)
    watch.check_packet(packet, 900.0)
    with pytest.raises(MediaError, match=r'leap from 500.0 s to 900.1 s, with nothing between.* gap of the limits'):
        watch.check_packet(packet, 900.1)


def test_the_size_in_the_header_is_enough(clip):
    with pytest.raises(MediaError, match='has 64 x 48 pixels, more than the 3,000 allowed; raise pixels of the limits'):
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
    path = write(tmp_path / f'leaps.{suffix}', [(16, 16)] * 10, times=[*range(5), *range(864000, 864005)])
    result = probe(path)
    assert 'its time stamps leap from 0.4 s to 864' in result.error
    assert probe(path, limits=Limits(gap=1e6)).frames == 10


@pytest.mark.parametrize('suffix', ['mkv', 'mp4'])
def test_time_stamps_that_begin_at_huge_values(tmp_path, suffix):
    path = write(tmp_path / f'late.{suffix}', [(16, 16)] * 10, times=range(10**7, 10**7 + 10))
    with open_media(path) as reader:
        times = reader.read_frames([0.0, 0.5])[1]
    np.testing.assert_allclose(times, [0.0, 0.5], atol=1e-3)
    assert probe(path).frames == 10


def write(path, sizes, *, times=None, form=None) -> str:
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
        with pytest.raises(MediaError, match='2 s of its sound are more than the 20,000 samples .* shorter window'):
            reader.read_audio(0.0, 2.0, 8000)
