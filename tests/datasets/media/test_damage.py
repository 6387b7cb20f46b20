"""Files damaged in mid-stream or cut short: what can be salvaged is, at the right times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mmav.datasets.media import MediaReader, open_media
from mmav.datasets.transforms import LoadClip
from mmav.errors import MediaError
from tests import clips
from tests.films import AVI, FPS, FRAGMENTS, HEVC, MPEG2, TS_CLOCK, WEBM

SECONDS, EVENTS = 8.0, (0.5, 2.0, 5.5, 7.5)
PLAIN = dict(seconds=SECONDS, fps=FPS, events=EVENTS, keyframes=12, b_frames=2, numbered=True, sample_rate=44100)
FILES: dict[str, dict] = {
    'h264.mp4': {},
    'h264.mkv': {},
    'h264.ts': dict(clock=TS_CLOCK),
    'h264.flv': {},
    'fragments.mp4': FRAGMENTS,
    'mpeg4.avi': AVI,
    'vp9.webm': dict(video='libvpx-vp9', **WEBM),
    'hevc.mp4': HEVC,
    'hevc.ts': dict(HEVC, clock=TS_CLOCK),
    'mpeg2.mpg': dict(MPEG2, clock=1.0, fps=FPS * 2),
}
NOISE = np.random.default_rng(0).bytes(3000)
# What is written over the middle of a file.
DAMAGES = {'300 zeros': bytes(300), '3000 zeros': bytes(3000), '2000 of noise': NOISE[:2000]}
# So far from the damage, in seconds, nothing may be missing: Matroska loses a cluster, others a group of pictures.
REACH = 1.5


@pytest.fixture(scope='module')
def whole(make_clip: Callable[..., Path]) -> Callable[[str], Path]:
    return lambda name: make_clip(f'whole_{name}', **{**PLAIN, **FILES[name]})


def middle_of(name: str, data: bytes) -> int:
    """Where to damage: half way, not in a fragment's header, which FFmpeg needs."""
    middle = len(data) // 2
    return data.index(b'mdat', middle) + 1000 if name == 'fragments.mp4' else middle


def read(reader: MediaReader, fps: int, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and times of the frames that can be shown in a span."""
    frames, times = reader.read_frames(np.arange(round(start * fps), round(end * fps)) / fps)
    times, first = np.unique(times, return_index=True)
    return clips.frame_numbers(frames[first]), times


def salvaged(path: Path) -> list[float]:
    """Times of the frames that FFmpeg decodes from first to last, past errors, from the first one."""
    times: list[float] = []
    with av.open(str(path)) as container:
        packets = container.demux(video=0)
        while True:
            try:
                times += [frame.time for frame in next(packets).decode()]
            except av.FFmpegError:  # noqa: PERF203
                continue
            except (StopIteration, IndexError):  # Damage may look like a new track, at which PyAV stumbles at the end.
                break
    return [time - times[0] for time in times]


def times_at(path: Path, fps: int, first: int, last: int) -> tuple[float, float]:
    """Times of the first and last frame that lie at least partly between two places of an undamaged file."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        # A program stream tells the place of few frames; it is that of the next one told.
        frames = sorted((packet.pos, k / fps) for k, packet in enumerate(packets) if packet.pos is not None)
    before = [time for place, time in frames if place <= first]
    behind = [time for place, time in frames if place > last]
    return max(before, default=0.0), min(behind, default=SECONDS)


def check_clicks(reader: MediaReader, end: float, heard: list[float]) -> None:
    wave = reader.read_audio(0.0, end, 16000)
    for event in heard:
        begin = round((event - 0.3) * 16000)
        assert clips.onset(wave[begin : begin + 9600], 16000) - 0.3 == pytest.approx(0.0, abs=0.02), event


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', FILES)
def test_damage_in_the_middle(whole, clip_dir, name, damage):
    data = bytearray(whole(name).read_bytes())
    place = middle_of(name, data)
    data[place : place + len(DAMAGES[damage])] = DAMAGES[damage]
    path = clip_dir / f'damaged_{name}'
    path.write_bytes(data)
    fps = FILES[name].get('fps', FPS)
    first, last = times_at(whole(name), fps, place, place + len(DAMAGES[damage]))

    def safe(times: np.ndarray | float) -> np.ndarray | bool:
        return (times < first - REACH) | (times > last + REACH)

    with open_media(str(path)) as reader:
        _, end = reader.fetch(0.0, reader.info.duration)
        assert end == pytest.approx(SECONDS, abs=0.2)
        numbers, times = read(reader, fps, 0.0, SECONDS)
        check_clicks(reader, end, [event for event in EVENTS if safe(event)])
    # All that is not near the damage is there, at its time.
    expected = np.arange(round(SECONDS * fps))
    expected = expected[safe(expected / fps)]
    assert len(expected) > 3 * fps
    nearest = np.abs(times[:, None] - expected / fps).argmin(axis=0)
    np.testing.assert_array_equal(numbers[nearest], expected)
    np.testing.assert_allclose(times[nearest], expected / fps, atol=0.5 / fps)
    # FFmpeg itself salvages no more.
    assert len(times) >= len(salvaged(path))
    # A part behind the damage is read as if there was none.
    with open_media(str(path)) as reader:
        numbers, times = read(reader, fps, 6.5, 7.5)
    np.testing.assert_array_equal(numbers, np.arange(round(6.5 * fps), round(7.5 * fps)))
    np.testing.assert_allclose(times, numbers / fps, atol=0.5 / fps)


@pytest.mark.parametrize('name', FILES)
def test_damage_in_many_places(whole, clip_dir, name):
    data = bytearray(whole(name).read_bytes())
    headers = [place for place in range(len(data)) if data[place : place + 4] == b'moof'] if 'fragm' in name else []
    for k, place in enumerate(np.linspace(0.2, 0.8, 20) * len(data)):
        if all(not header - 8 < place < header + 700 for header in headers):
            data[int(place) : int(place) + 8] = NOISE[8 * k : 8 * k + 8]
    path = clip_dir / f'riddled_{name}'
    path.write_bytes(data)
    fps = FILES[name].get('fps', FPS)
    with open_media(str(path)) as reader:
        numbers, times = read(reader, fps, 0.0, SECONDS)
        check_clicks(reader, 1.0, EVENTS[:1])
    assert len(times) >= len(salvaged(path))
    before = times < 1.0 - 0.5 / fps
    np.testing.assert_allclose(times[before], np.arange(fps) / fps, atol=0.5 / fps)
    np.testing.assert_array_equal(numbers[before], np.arange(fps))


@pytest.mark.parametrize('name', [name for name in FILES if name not in ('h264.mp4', 'hevc.mp4')])
def test_cut_short(whole, clip_dir, name):
    data = whole(name).read_bytes()
    place = middle_of(name, data)
    path = clip_dir / f'short_{name}'
    path.write_bytes(data[:place])
    fps = FILES[name].get('fps', FPS)
    there = salvaged(path)
    with open_media(str(path)) as reader:
        _, end = reader.fetch(0.0, reader.info.duration)
        assert end == pytest.approx(there[-1] + 1 / fps, abs=1.1 / fps)
        assert reader.info.duration == pytest.approx(there[-1] + 1 / fps, abs=0.01)
        numbers, times = read(reader, fps, 0.0, SECONDS)
        check_clicks(reader, end, [event for event in EVENTS if event < end - 0.5])
    np.testing.assert_allclose(times, sorted(there), atol=1e-6)
    assert len(times) > 0.4 * SECONDS * fps
    # Before the last ones some may be missing, and those may refer to what is not there any more.
    np.testing.assert_array_equal(numbers[:-4], np.arange(len(numbers) - 4))
    np.testing.assert_allclose(times[:-4], np.arange(len(times) - 4) / fps, atol=0.5 / fps)
    # Windows are taken from what is there.
    load = LoadClip(num_frames=4, window=1.0)
    for seed in range(4):
        row = dict(start=None, end=None, modalities=('video', 'audio'), broken=None, rng=np.random.default_rng(seed))
        out = load(dict(row, path=str(path)))
        assert out['end'] <= end + 1e-6 and out['masks'] == dict(video=True, audio=True)
        np.testing.assert_array_equal(clips.frame_numbers(out['video'][0]), np.round(out['frame_times'][0] * fps))


def test_a_fragment_without_its_header_ends_the_file_for_ffmpeg(whole, clip_dir):
    data = whole('fragments.mp4').read_bytes()
    path = clip_dir / 'in_the_header.mp4'
    path.write_bytes(data[: data.index(b'moof', len(data) // 2) + 100])
    with pytest.raises(MediaError, match='cannot be opened as audio or video: Invalid data'):
        open_media(str(path))
