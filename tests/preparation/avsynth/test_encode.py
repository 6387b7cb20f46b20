import io

import av
import numpy as np
import pytest

from mmav.preparation.avsynth.encode import encode_mp4
from mmav.preparation.avsynth.render_audio import render_audio
from mmav.preparation.avsynth.render_video import render_video
from mmav.preparation.avsynth.spec import SOUND_EVENTS


def _decode_sound(data: bytes, sample_rate: int) -> np.ndarray:
    """Samples placed by presentation time: sample k sounds at k / sample_rate seconds."""
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    waveform = np.zeros(round(sample_rate * (frames[-1].time + 1)), np.float32)
    for frame in frames:
        start = round(frame.time * sample_rate)
        waveform[start : start + frame.samples] = frame.to_ndarray()[0]
    return waveform


def test_streams_and_times() -> None:
    video = render_video(np.random.default_rng(0), 0, 64)
    audio = render_audio(np.random.default_rng(1), 0)
    data = encode_mp4(video.frames, audio.waveform, fps=12, sample_rate=24000)
    with av.open(io.BytesIO(data)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert 'mp4' in container.format.name
        assert [stream.codec_context.name for stream in container.streams] == ['h264', 'aac']
        assert (picture.width, picture.height, picture.average_rate) == (64, 64, 12)
        assert (sound.rate, sound.layout.name) == (24000, 'mono')
        assert container.duration / av.time_base == pytest.approx(2.0, abs=0.05)
        assert picture.start_time == 0
        assert sound.start_time == 0
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([i / 12 for i in range(24)])
    error = np.stack([frame.to_ndarray(format='rgb24') for frame in frames]) - video.frames.astype(float)
    assert np.sqrt((error**2).mean()) < 12


def test_same_input_gives_same_bytes() -> None:
    audio = render_audio(np.random.default_rng(1), 1, seconds=1.0)
    clutter = []  # moves later allocations, so that bytes which depend on unset memory show
    for seed in range(8):
        frames = render_video(np.random.default_rng(seed), 1, 96).frames
        coded = set()
        for size in (10, 3000, 20000, 70000):
            coded.add(encode_mp4(frames, audio.waveform, fps=12, sample_rate=24000))
            clutter.append(np.random.default_rng(seed).random(size))
        assert len(coded) == 1


def test_without_sound_there_is_no_track() -> None:
    frames = render_video(np.random.default_rng(0), 0, 64).frames
    with av.open(io.BytesIO(encode_mp4(frames, None, fps=12, sample_rate=24000))) as container:
        assert [stream.type for stream in container.streams] == ['video']
        assert len(list(container.decode(video=0))) == len(frames)


@pytest.mark.parametrize('sample_rate', [22050, 24000])
@pytest.mark.parametrize('event', range(len(SOUND_EVENTS)))
def test_sound_is_where_it_was_put(event: int, sample_rate: int) -> None:
    frames = np.zeros((24, 32, 32, 3), np.uint8)
    for clutter in (True, False):
        audio = render_audio(np.random.default_rng(event), event, sample_rate=sample_rate, clutter=clutter)
        decoded = _decode_sound(encode_mp4(frames, audio.waveform, fps=12, sample_rate=sample_rate), sample_rate)
        size = 2 * len(decoded)
        match = np.fft.irfft(np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(audio.event, size)))
        lag = (match.argmax() + len(decoded)) % size - len(decoded)
        assert abs(lag) / sample_rate < 0.001
        if not clutter:
            heard = np.flatnonzero(np.abs(decoded) > 0.1 * np.abs(audio.event).max())
            assert heard[0] / sample_rate == pytest.approx(audio.onset, abs=0.02)
            assert heard[-1] / sample_rate == pytest.approx(audio.offset, abs=0.02)
