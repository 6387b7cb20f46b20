"""Sound goes into another file in its channels, at its rate, and with its gaps."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from mmav.datasets.media.audio_copy import AudioCopy, copies_audio, downmixed, mono_frame
from mmav.datasets.media.streaming import StreamReader
from tests import clips
from tests.datasets.media.test_audio import RATE, packed_frames, tone


def write(source, target, **part):
    """Writes the sound alone."""
    form = dict(mp4='mp4', mkv='matroska', mov='mov')[target.suffix[1:]]
    with av.open(str(target), 'w', format=form) as container, StreamReader(str(source)) as reader:
        AudioCopy(container, reader, **part).write_until(float('inf'))
    with av.open(str(target)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        wave = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
        late = np.zeros((len(wave), round(frames[0].time * stream.sample_rate)), wave.dtype)
        return stream.codec.canonical_name, stream.sample_rate, stream.layout.name, np.append(late, wave, axis=1)


@pytest.mark.parametrize(
    ('channels', 'rate', 'expected'),
    [
        (1, 8000, (8000, 'mono')),
        (2, 44100, (44100, 'stereo')),
        (6, 48000, (48000, '5.1')),
        (1, 37800, (44100, 'mono')),
        (2, 192000, (48000, 'stereo')),
    ],
)
def test_encoded_as_it_was(make_clip, tmp_path, channels, rate, expected):
    source = make_clip(
        f'sound_{channels}_{rate}.wav', video=None, audio='pcm_s16le', channels=channels, sample_rate=rate,
        events=(0.5,), seconds=1.0,
    )  # fmt: skip
    codec, *form, wave = write(source, tmp_path / 'out.mp4')
    assert (codec, *form) == ('aac', *expected) and wave.shape[0] == channels
    assert wave.shape[1] / form[0] == pytest.approx(1.0, abs=0.03)
    assert clips.onset(wave[0], form[0]) == pytest.approx(0.5, abs=0.002)


def test_gap_stays(make_clip, tmp_path):
    source = make_clip('sound_gap.mkv', audio='pcm_s16le', events=(0.5, 1.5))
    # as if half a second of packets had been lost
    torn = clips_without(source, tmp_path / 'torn.mkv', 0.7, 1.2)
    _, rate, _, wave = write(torn, tmp_path / 'out.mp4')
    assert clips.onset(wave[0, rate:], rate) + 1 == pytest.approx(1.5, abs=0.002)
    assert np.abs(wave[0, round(0.85 * rate) : round(1.1 * rate)]).max() < 1e-3


def clips_without(source, target, first, last):
    with av.open(str(source)) as read, av.open(str(target), 'w') as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            sound = packet.stream.type == 'audio'
            if packet.size and not (sound and first < packet.pts * packet.time_base < last):
                packet.stream = streams[packet.stream_index]
                copy.mux(packet)
    return target


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_part(flashes, tmp_path, suffix):
    codec, rate, _, wave = write(flashes, tmp_path / f'out.{suffix}', start=1.9, end=3.0)
    assert codec == 'aac'
    assert wave.shape[1] / rate == pytest.approx(1.1, abs=0.05)
    assert clips.onset(wave[0], rate) == pytest.approx(0.3, abs=0.002)


def test_sound_longer_than_its_picture(make_clip, tmp_path):
    source = make_clip('sound_is_longer.mp4', seconds=1.0, audio_seconds=2.0, events=(1.7,))
    assert write(source, tmp_path / 'out.mp4')[3].shape[1] / 16000 == pytest.approx(2.0, abs=0.07)
    wave = write(source, tmp_path / 'part.mp4', start=0.5, end=1.0)[3]
    assert wave.shape[1] / 16000 == pytest.approx(0.5, abs=0.07)


def test_what_is_copied():
    assert not copies_audio('mp4', 'mp3', 8000) and copies_audio('matroska', 'mp3', 8000)
    assert not copies_audio('mp4', 'pcm_s16le', 44100) and copies_audio('mov', 'pcm_s16le', 44100)
    assert not copies_audio('mp4', 'aac', 0)


@pytest.mark.parametrize('layout', ['7.1', '9 channels', '16 channels'])
def test_many_channels_become_what_aac_takes_no_louder_than_they_were(tmp_path, layout):
    count = av.AudioLayout(layout).nb_channels
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000)
    source = tmp_path / 'many.wav'
    with av.open(str(source), 'w') as container:
        stream = container.add_stream('pcm_f32le', rate=48000, layout=layout)
        samples = np.repeat(tone.astype(np.float32), count)[None]
        frame = av.AudioFrame.from_ndarray(samples, format='flt', layout=layout)
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    codec, rate, found, wave = write(source, tmp_path / 'out.mp4')
    assert (codec, rate, found) == ('aac', 48000, 'mono' if layout == '9 channels' else 'stereo')
    assert np.sqrt((wave[:, 6000:18000] ** 2).mean()) == pytest.approx(0.2 * np.sqrt(0.5), rel=0.02)


def test_frames_shorter_than_a_millisecond(tmp_path):
    source = tmp_path / 'short_frames.mkv'
    tone = (16000 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000)).astype(np.int16)
    with av.open(str(source), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=48000, layout='mono')
        for k in range(0, len(tone), 40):
            frame = av.AudioFrame.from_ndarray(tone[None, k : k + 40], format='s16', layout='mono')
            frame.sample_rate, frame.pts, frame.time_base = 48000, k, Fraction(1, 48000)
            container.mux(stream.encode(frame))
    wave = write(source, tmp_path / 'out.mp4')[3][0, 6000:18000]
    assert np.sqrt((wave**2).mean()) == pytest.approx(16000 / 32768 * np.sqrt(0.5), rel=0.02)


def test_frames_that_ffmpeg_cannot_mix_are_mixed_here():
    for layout in ('5.1', '7.1', '8 channels'):
        (frame,) = packed_frames(np.zeros((av.AudioLayout(layout).nb_channels, 8)), layout)
        assert downmixed(frame, 'stereo') is frame
    for layout in ('9 channels', 'ambisonic 1'):
        count = av.AudioLayout(layout).nb_channels
        (frame,) = packed_frames(np.tile(tone(400)[:100], (count, 1)), layout)
        mono = downmixed(frame, 'stereo')
        assert (mono.layout.name, mono.sample_rate, mono.samples) == ('mono', RATE, 100)
        np.testing.assert_array_equal(mono.to_ndarray(), mono_frame(frame).to_ndarray())
