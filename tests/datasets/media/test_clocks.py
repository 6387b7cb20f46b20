"""Recordings joined end to end, in which the clock starts again."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.clocks import recounted
from mmav.datasets.transforms import LoadClip
from mmav.errors import MediaError
from tests import clips, remux
from tests.films import FPS, HEVC, MPEG2

EVENTS = (0.5, 2.0, 3.5)
PLAIN = dict(fps=FPS, keyframes=12, b_frames=2, numbered=True, sample_rate=44100)
# Suffix, options, seconds and clocks of the parts. Where a long part comes first, the file's last time stamp is no
# larger than one within it; where it comes last, the joint is met while reading.
JOINED = {
    'same_clock': ('ts', {}, (4.0, 4.0), (1.4, 1.4)),
    'earlier_clock': ('ts', {}, (4.0, 4.0), (5.4, 1.4)),
    'long_first': ('ts', {}, (8.0, 4.0), (1.4, 1.4)),
    'long_last': ('ts', {}, (4.0, 8.0), (1.4, 1.4)),
    'three': ('ts', {}, (4.0, 4.0, 4.0), (1.4, 1.4, 1.4)),
    'continued': ('ts', {}, (4.0, 4.0), (1.4, 5.4)),
    'hevc': ('ts', HEVC, (4.0, 4.0), (1.4, 1.4)),
    'mpeg2': ('ts', {**MPEG2, 'fps': 24}, (4.0, 4.0), (1.4, 1.4)),
}


@pytest.mark.parametrize('name', JOINED)
def test_joined_parts_follow_each_other(make_clip, clip_dir, name):
    suffix, options, seconds, clocks = JOINED[name]
    options = {**PLAIN, **options}
    parts = [
        make_clip(f'part_{name}_{k}.{suffix}', **options, seconds=length, clock=clock, events=EVENTS)
        for k, (length, clock) in enumerate(zip(seconds, clocks, strict=True))
    ]
    path = remux.join(clip_dir / f'joined_{name}.{suffix}', *parts)
    fps, starts, total = options['fps'], np.cumsum((0.0, *seconds)), sum(seconds)
    numbers = np.concatenate([np.arange(round(length * fps)) for length in seconds])
    with open_media(str(path)) as reader:
        start, end = reader.fetch(0.0, 100.0)
        assert end == reader.info.duration == pytest.approx(total, abs=0.05)
        frames, times = reader.read_frames(np.arange(len(numbers)) / fps)
        wave = reader.read_audio(start, end, 16000)
    np.testing.assert_allclose(times, np.arange(len(numbers)) / fps, atol=0.5 / fps)
    np.testing.assert_array_equal(clips.frame_numbers(frames), numbers)
    for begin in starts[:-1]:
        for event in EVENTS:
            place = round((begin + event - 0.3) * 16000)
            assert clips.onset(wave[place : place + 9600], 16000) - 0.3 == pytest.approx(0.0, abs=0.02)
    # A window in the last part.
    start = starts[-2] + 2.8
    out = LoadClip(num_frames=8, mode='uniform')(
        dict(path=str(path), start=start, end=start + 1.0, modalities=('video', 'audio'), broken=None, rng=None)
    )
    np.testing.assert_allclose(out['frame_times'][0], start + (np.arange(8) + 0.5) / 8, atol=0.5 / fps + 1e-6)
    expected = np.round((out['frame_times'][0] - starts[-2]) * fps)
    np.testing.assert_array_equal(clips.frame_numbers(out['video'][0]), expected)
    assert clips.onset(out['audio'][0], 16000) == pytest.approx(0.7, abs=0.02)


def test_a_gap_in_the_recording_stays_a_gap(make_clip, clip_dir):
    parts = [
        make_clip(f'part_gap_{k}.ts', **PLAIN, seconds=4.0, clock=clock, events=EVENTS)
        for k, clock in enumerate((1.4, 8.4))
    ]
    with open_media(str(remux.join(clip_dir / 'gap.ts', *parts))) as reader:
        assert reader.info.duration == pytest.approx(11.0, abs=0.1)
        frames, times = reader.read_frames([3.5, 7.5])
        wave = reader.read_audio(0.0, 11.0, 16000)
    np.testing.assert_allclose(times, [3.5, 7.5], atol=1e-3)
    np.testing.assert_array_equal(clips.frame_numbers(frames), [42, 6])
    assert not wave[round(4.2 * 16000) : round(6.9 * 16000)].any()
    assert clips.onset(wave[7 * 16000 :][:16000], 16000) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize('second', ['same', 'other'])
@pytest.mark.parametrize('encoder', ['libopus', 'vorbis'])
def test_joined_ogg_files_are_refused_in_one_line(make_clip, tmp_path, encoder, second):
    """FFmpeg reads them once, forwards: half was silent, or the wrong part, from the second reading on."""
    parts = [
        make_clip(f'chain_{encoder}_{k}.ogg', seconds=1.0 + k, video=None, audio=encoder, sample_rate=48000, channels=2)
        for k in (0, 0 if second == 'same' else 1)
    ]
    path = tmp_path / 'joined.ogg'
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    for _ in range(2):
        with pytest.raises(MediaError, match='is a concatenation of Ogg files, which cannot be searched; rewrite it'):
            open_media(str(path))
    with open_media(str(parts[1])) as reader:
        assert reader.info.duration > 0.9


def test_a_first_packet_of_unknown_length_lasts_as_long_as_the_second():
    def packet(track, dts, duration):
        return SimpleNamespace(stream_index=track, pts=dts, dts=dts, duration=duration)

    sound = [packet(1, dts, duration) for dts, duration in ((0, 0), (7, 2), (9, 2), (20, 3), (30, 2))]
    picture = packet(0, 5, 0)
    found = list(recounted(iter([sound[0], picture, *sound[1:]]), {1}))
    assert [each.pts for each in found] == [0, 5, 2, 4, 6, 9]
