"""Segments of hour-long files cost the same wherever they lie, and nothing outlives a reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmav.datasets.media import open_media, packets, video
from mmav.datasets.transforms import LoadClip
from tests import clips, remux
from tests.held import nothing_held

# 6 frames per second and packets of sound of 128 ms, both a whole number in 16 s.
ROUND, ROUNDS, FPS, RATE = 16.0, 225, 6, 8000
EVENTS = (0.5, 5.0, 8.5, 15.0)
CONTAINERS: dict[str, dict[str, str]] = {
    'mp4': {},
    'index_in_front.mp4': dict(movflags='faststart'),
    'fragments.mp4': dict(movflags='frag_keyframe+empty_moov+default_base_moof'),
    'mov': {},
    'mkv': {},
    'ts': {},
}
# 0:10, 30:00, 59:50.
PLACES = (10.0, 1800.0, 3590.0)
LENGTH = 2.6
# Clicks near them.
CLICKS = (15.0, 1800.5, 3592.5)


@pytest.fixture(scope='session')
def hour(make_clip: Callable[..., Path], clip_dir: Path) -> Callable[[str], Path]:
    """An hour in a container; each made once."""
    options = dict(seconds=ROUND, fps=FPS, events=EVENTS, keyframes=12, b_frames=2, numbered=True, sample_rate=RATE)

    def make(name: str) -> Path:
        path = clip_dir / f'hour.{name}'
        if not path.exists():
            remux.repeat(make_clip('round.mp4', **options), path, ROUNDS, seconds=ROUND, muxer=CONTAINERS[name])
        return path

    return make


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the packets read and those decoded."""
    counts = dict(read=0, decoded=0)
    read_packets, decode = packets.Demuxer._demux, video._decode

    def counting_read(self):
        for packet in read_packets(self):
            counts['read'] += 1
            yield packet

    def counting_decode(*args):
        counts['decoded'] += 1
        return decode(*args)

    monkeypatch.setattr(packets.Demuxer, '_demux', counting_read)
    monkeypatch.setattr(video, '_decode', counting_decode)
    return counts


@pytest.mark.parametrize('name', CONTAINERS)
def test_a_segment_costs_the_same_at_every_place(hour, work, name):
    path = hour(name)
    costs = []
    for start in PLACES:
        work.update(read=0)
        wanted = start + (np.arange(16) + 0.5) * LENGTH / 16
        with open_media(str(path)) as reader:
            assert reader.info.duration == pytest.approx(ROUND * ROUNDS, abs=0.2)
            # Its first 17 frames, and the last second with the group of pictures before.
            assert work['read'] < 17 * 3 + 4 * (FPS + RATE / 1024)
            work.update(read=0, decoded=0)
            assert reader.fetch(start, start + LENGTH) == (start, start + LENGTH)
            frames, times = reader.read_frames(wanted)
            wave = reader.read_audio(start, start + LENGTH, 16000)
        costs.append((work['read'], work['decoded']))
        np.testing.assert_allclose(times, np.round(wanted * FPS) / FPS, atol=0.5 / FPS)
        np.testing.assert_array_equal(clips.frame_numbers(frames), np.round(times * FPS) % (ROUND * FPS))
        assert wave is not None and len(wave) == round(LENGTH * 16000)
    # An hour has 21600 frames and 28125 packets of sound. A transport stream is searched again from further back where
    # no keyframe was found; the others lead straight to one.
    assert max(read for read, _ in costs) < (200 if name == 'ts' else 90)
    # The span, the rest of its groups of pictures of 2 s, and a flush.
    assert max(decoded for _, decoded in costs) <= (LENGTH + 2 * 2) * FPS + 2
    decoded = [decoded for _, decoded in costs]
    assert max(decoded) - min(decoded) <= 2


@pytest.mark.parametrize('name', ['mp4', 'mkv', 'ts'])
def test_sound_of_a_late_segment(hour, name):
    path = hour(name)
    for click in CLICKS:
        load = LoadClip(num_frames=8, mode='uniform')
        row = dict(path=str(path), start=click - 1.0, end=click + 1.0, modalities=('video', 'audio'), broken=None)
        out = load(dict(row, rng=None))
        assert clips.onset(out['audio'][0], 16000) == pytest.approx(1.0, abs=0.02)


def test_a_header_without_length_takes_one_pass_and_no_memory(make_clip, clip_dir, hour, work):
    hour('mkv')
    path = clip_dir / 'hour_live.mkv'
    remux.repeat(clip_dir / 'round.mp4', path, 40, seconds=ROUND, muxer={'live': '1'})
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(40 * ROUND, abs=0.2)
        kept = sum(len(reader._packets.of(stream)) for stream in (reader.video_stream, reader.audio_stream))
        assert kept < 40
        assert work['read'] < 1.01 * 40 * ROUND * (FPS + RATE / 1024)


def test_nothing_outlives_a_reading_that_is_broken_off(hour):
    def open_and_stop() -> None:
        with open_media(str(hour('ts'))) as reader:
            reader.fetch(1800.0, 1800.5)

    open_and_stop()
    with nothing_held():
        open_and_stop()


def test_nothing_outlives_the_reading_of_a_clip(hour, clip, silent, flashes, clip_dir):
    data = bytearray(flashes.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    damaged = clip_dir / 'memory_damaged.mp4'
    damaged.write_bytes(data)
    rows = [(clip, None, None), (silent, None, None), (damaged, None, None), (damaged, 2.0, 3.0)]
    rows += [(hour(name), 1800.0, 1800.0 + LENGTH) for name in ('mp4', 'mkv', 'ts')]
    load = LoadClip(num_frames=4, short_side=32)

    def read_all() -> None:
        for path, start, end in rows:
            row = dict(path=str(path), start=start, end=end, modalities=('video', 'audio'), broken=None)
            load(dict(row, rng=np.random.default_rng(0)))

    read_all()
    with nothing_held():
        read_all()


def test_far_keyframes_do_not_lead_back_to_the_start(make_clip, clip_dir, work):
    # A transport stream is not searched by keyframes; x264 sets one each 250 frames.
    options = dict(seconds=ROUND, fps=FPS, events=EVENTS, keyframes=96, b_frames=2, numbered=True, sample_rate=RATE)
    path = clip_dir / 'far_keyframes.ts'
    remux.repeat(make_clip('round_of_one_group.mp4', **options), path, ROUNDS, seconds=ROUND)
    with open_media(str(path)) as reader:
        work.update(read=0)
        _, times = reader.read_frames([1815.0, 1815.5])
    np.testing.assert_allclose(times, [1815.0, 1815.5], atol=0.5 / FPS)
    assert work['read'] < 100 * (FPS + RATE / 1024)
