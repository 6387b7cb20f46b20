"""The track that holds something is read, whichever a file names first."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from mmav.datasets.media import open_media
from mmav.datasets.media.opening import Watch, choose_track, learn_parameters, open_container
from tests import clips, remux


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
        assert choose_track(container, Watch(str(path)), 'audio').index == 1
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


@pytest.fixture
def tracks(make_clip):
    """Files: the film, another film, one image."""
    plain = dict(seconds=1.0, audio=None)
    return (
        make_clip('aux_film.mp4', numbered=True, **{**plain, 'audio': 'aac'}),
        make_clip('aux_other.mp4', size=(96, 128), **plain),
        make_clip('aux_image.mp4', size=(96, 128), times=np.array([0.0]), **plain),
    )


def mux(path, *files):
    sound = (files[-1], 'audio', Disposition.default)
    return remux.mux(path, [*((file, 'video', Disposition.default) for file in files), sound])


def check(path):
    with open_media(str(path)) as reader:
        assert (reader.info.height, reader.info.width) == (48, 64)
        frames, _ = reader.read_frames(np.arange(12) / 12)
    np.testing.assert_array_equal(clips.frame_numbers(frames), np.arange(12))


@pytest.mark.parametrize('suffix', ['mp4', 'mov', 'mkv'])
def test_one_image_before_the_film(tracks, tmp_path, suffix):
    film, _, image = tracks
    path = mux(tmp_path / f'image_first.{suffix}', image, film)
    if suffix != 'mkv':  # which does not count frames; FFmpeg goes by what it sees
        with av.open(str(path)) as container:
            assert [stream.frames for stream in container.streams.video] == [1, 12]
    check(path)


def test_auxiliary_pictures_before_the_film(tracks, tmp_path):
    film, other, _ = tracks
    check(remux.make_auxiliary(mux(tmp_path / 'auxiliary_first.mp4', other, film)))


def test_a_single_image_is_a_picture_track(tracks):
    with open_media(str(tracks[2])) as reader:
        assert (reader.info.has_video, reader.info.height) == (True, 96)


def test_a_track_of_which_little_is_known_at_first(make_clip):
    path = make_clip('to_learn.ts', seconds=2.0, audio='libmp3lame', sample_rate=44100, clock=1.4)
    with av.open(str(path), options={'probesize': '32', 'analyzeduration': '1', 'scan_all_pmts': '1'}) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.sample_rate == 0
        learn_parameters(Watch(str(path)), stream)
        assert (stream.codec_context.sample_rate, len(stream.layout.channels)) == (44100, 1)
        # It still stands at its start.
        assert next(container.demux(container.streams.video[0])).is_keyframe


def test_sound_that_begins_after_all_that_ffmpeg_looks_at(make_clip):
    late = dict(seconds=12.0, fps=25, numbered=True, audio_start=10.0, audio_seconds=13.0, events=(11.0,))
    path = make_clip('late_sound.ts', sample_rate=48000, clock=1.4, **late)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.sample_rate == 0
    with open_media(str(path)) as reader:
        assert (reader.info.sample_rate, reader.info.channels) == (48000, 1)
        # FFmpeg dates only the first of the frames that share a packet of the stream.
        assert reader.info.duration == pytest.approx(13.0, abs=0.03)
        wave = reader.read_audio(10.0, 13.0, 16000)
    assert clips.onset(wave, 16000) == pytest.approx(1.0, abs=0.01)
