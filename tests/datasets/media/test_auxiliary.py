"""The picture of a file among tracks that are none: depth, transparency, thumbnails, single images."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.stream import Disposition

from mmav.datasets.media import open_media
from mmav.datasets.media.auxiliary import learn_parameters
from tests import clips, remux


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
        learn_parameters(container, stream)
        assert (stream.codec_context.sample_rate, len(stream.layout.channels)) == (44100, 1)
        # It stands at its start again.
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
