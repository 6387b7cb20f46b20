"""The track that holds something is read, whichever a file names first."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media import Limits, open_media
from mmav.datasets.media.opening import open_container
from mmav.datasets.media.tracks import choose_track
from tests import clips


def with_tracks(path, source, filled, count):
    """A copy of a clip whose sound stands in one of several sound tracks, the others being empty."""
    with av.open(str(source)) as read, av.open(str(path), 'w') as write:
        picture = write.add_stream_from_template(read.streams.video[0])
        sounds = [write.add_stream_from_template(read.streams.audio[0]) for _ in range(count)]
        for packet in read.demux():
            if packet.size:
                packet.stream = picture if packet.stream.type == 'video' else sounds[filled]
                write.mux(packet)
    return path


@pytest.mark.parametrize('suffix', ['mkv', 'mp4', 'mov', 'ts'])
@pytest.mark.parametrize(('filled', 'count'), [(1, 2), (2, 3), (0, 2)])
def test_empty_sound_track_before_the_real_one(tmp_path, flashes, suffix, filled, count):
    path = with_tracks(tmp_path / f'tracks.{suffix}', flashes, filled, count)
    with open_media(str(path)) as reader, open_media(str(flashes)) as expected:
        wave = reader.read_audio(0.0, 3.0, 16000)
        assert clips.onset(wave, 16000) == pytest.approx(
            clips.onset(expected.read_audio(0.0, 3.0, 16000), 16000), abs=0.03
        )
        assert reader.info.has_audio and reader.info.sample_rate == expected.info.sample_rate


def test_a_track_that_ffmpeg_prefers_but_that_is_empty(tmp_path, flashes):
    path = tmp_path / 'default.mkv'
    with av.open(str(flashes)) as read, av.open(str(path), 'w') as write:
        sound = read.streams.audio[0]
        empty, full = (write.add_stream_from_template(sound) for _ in range(2))
        empty.disposition, full.disposition = av.stream.Disposition.default, av.stream.Disposition.comment
        for packet in read.demux(sound):
            if packet.size:
                packet.stream = full
                write.mux(packet)
    with open_container(str(path)) as container:
        assert container.streams.best('audio').index == 0
        assert choose_track(container, str(path), 'audio', Limits()).index == 1
    with open_media(str(path)) as reader:
        assert np.abs(reader.read_audio(0.0, 3.0, 16000)).max() > 0.1


def test_cover_art_is_no_picture(tmp_path, blind):
    path = tmp_path / 'cover.mp4'
    with av.open(str(blind)) as read, av.open(str(path), 'w') as write:
        cover = write.add_stream('mjpeg', rate=Fraction(1))
        cover.height, cover.width, cover.pix_fmt = 32, 32, 'yuvj420p'
        cover.disposition = av.stream.Disposition.attached_pic
        sound = write.add_stream_from_template(read.streams.audio[0])
        write.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        for packet in read.demux():
            if packet.size:
                packet.stream = sound
                write.mux(packet)
    with open_media(str(path)) as reader:
        assert not reader.info.has_video and reader.info.has_audio
