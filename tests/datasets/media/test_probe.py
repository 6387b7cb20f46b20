"""Measures of clips that are made with known ones."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest

from mmav.datasets.media import Limits
from mmav.datasets.media.probe import SILENCE_DB, probe


def still(path, *, noise=0, seconds=2.0, fps=25, muted=False):
    """A picture that does not move, encoded as coarsely as bad clips are; with a track of digital silence if muted."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3)).astype(np.float32), (128, 96), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps, options={'crf': '30'})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = 96, 128, 'yuv420p', 12
        sound = container.add_stream('aac', rate=16000, layout='mono') if muted else None
        for _ in range(round(seconds * fps)):
            shown = np.clip(image + rng.normal(0, 1, image.shape) * noise, 0, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown.astype(np.uint8), format='rgb24')))
        container.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * 16000)), np.float32), 'fltp', 'mono')
            silence.sample_rate, silence.pts = 16000, 0
            container.mux([*sound.encode(silence), *sound.encode(None)])
    return path


def test_a_whole_clip(flashes):
    result = probe(str(flashes))
    assert result.error is None and result.has_video and result.has_audio
    assert (result.height, result.width, result.frames, result.damaged) == (48, 64, 120, 0)
    assert (result.video_codec, result.audio_codec) == ('h264', 'aac')
    assert (result.sample_rate, result.channels) == (44100, 2)
    assert result.fps == pytest.approx(30, rel=1e-3)
    assert result.duration == result.promised == result.seconds == pytest.approx(4.0, abs=1e-3)
    assert result.sound_start == 0 and result.sound_end == pytest.approx(4.0, abs=0.03)
    # The click's 0.8 through AAC.
    assert result.peak_db == pytest.approx(20 * np.log10(0.8), abs=1)
    assert result.motion > 100


def test_a_part_of_a_file(flashes):
    result = probe(str(flashes), 1.0, 2.0)
    assert result.frames == 30 and result.seconds == pytest.approx(1.0)
    # Between two events: neither click nor flash.
    assert result.peak_db < -30 and result.motion < 100
    late = probe(str(flashes), 3.0, 9.0)
    assert late.frames == 30 and late.seconds == pytest.approx(1.0, abs=1e-3)
    assert probe(str(flashes), 7.0, 9.0).error == 'the clip starts at 7 s, but the file ends at 4 s'


def test_pieces_add_up(flashes, monkeypatch):
    whole = probe(str(flashes)).to_dict()
    monkeypatch.setattr('mmav.datasets.media.streaming.PIECE', 0.7)
    assert probe(str(flashes)).to_dict() == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize('noise', [0, 3])
def test_a_frozen_picture(tmp_path, noise):
    result = probe(str(still(tmp_path / 'still.mp4', noise=noise)))
    assert result.frames == 50 and result.motion < 10


def test_absent_tracks(silent, blind):
    result = probe(str(silent))
    assert result.has_video and not result.has_audio and result.peak_db == SILENCE_DB and result.channels == 0
    result = probe(str(blind))
    assert result.error is None and result.has_audio and not result.has_video and result.height == 0


def test_a_silent_track(tmp_path):
    result = probe(str(still(tmp_path / 'muted.mp4', muted=True)))
    assert result.has_audio and result.peak_db < -90


def test_sound_that_starts_late_and_ends_early(make_clip):
    late = probe(str(make_clip('late_for_probe.mp4', seconds=3.0, audio_start=1.0)))
    # The encoder puts one frame in front of the first sample.
    assert late.sound_start == pytest.approx(1.0 - 1024 / 16000, abs=0.001)
    early = probe(str(make_clip('early_for_probe.mp4', seconds=3.0, audio_seconds=1.0)))
    assert early.sound_end == pytest.approx(1.0, abs=0.08)


def test_damage(make_clip, tmp_path):
    data = bytearray(make_clip('whole_for_probe.mp4', seconds=4.0, keyframes=12).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    (tmp_path / 'damaged.mp4').write_bytes(data)
    result = probe(str(tmp_path / 'damaged.mp4'))
    assert result.error is None and result.damaged > 0 and 24 < result.frames < 48


def test_a_header_that_promises_more_than_there_is(make_clip, tmp_path):
    whole = make_clip('whole_for_probe.mkv', seconds=6.0, keyframes=12)
    (tmp_path / 'cut_short.mkv').write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = probe(str(tmp_path / 'cut_short.mkv'))
    assert result.error is None and result.promised > 5.5 and result.duration < 4.5


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [('missing', 'no such file'), ('empty', 'is an empty file'), ('text', 'cannot be opened'), ('cut_off', 'cannot')],
)
def test_what_cannot_be_read(broken, kind, reason):
    result = probe(str(broken[kind]))
    assert result.error.startswith(reason) and not result.has_video
    assert result.failure == ('missing' if kind == 'missing' else 'unreadable')


@pytest.mark.parametrize('suffix', ['mp4', 'avi', 'mkv'])
def test_once_time_is_up_only_keyframes_are_decoded(make_clip, suffix):
    path = str(make_clip(f'long_for_probe.{suffix}', seconds=4.0, keyframes=12, events=(1.0, 3.0)))
    whole, sampled = probe(path), probe(path, thorough=0.0)
    assert (whole.decoded, sampled.decoded) == (whole.seconds, 0.0)
    assert sampled.motion > 100
    for name in ('error', 'duration', 'seconds', 'frames', 'fps', 'sound_end', 'peak_db', 'damaged'):
        assert getattr(sampled, name) == pytest.approx(getattr(whole, name)), name


def test_limits_are_passed_on(clip):
    assert probe(str(clip), limits=Limits(pixels=100)).error.startswith('its frames have 64 x 48 pixels, more than')
