"""Any number of channels to one, beside FFmpeg's own downmix."""

from __future__ import annotations

import math

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.channels import GUESSED, as_float, downmixed, mono_frame, mono_samples, mono_weights

RATE = 8000
TIME = np.arange(800) / RATE
LAYOUTS = ['2.1', '3.0(back)', 'quad', '5.1', '5.1(side)', '6.1(front)', '7.1', '7.1(wide)', '7.1.4', '9.1.6']


def names_of(layout):
    return [channel.name for channel in av.AudioLayout(layout).channels]


def tone(hertz):
    return 0.5 * np.sin(2 * np.pi * hertz * TIME)


def frames_of(wave, layout, form='fltp', size=256):
    """Frames of a wave (C, S). PyAV writes no more than seven planes: planar frames come out of FFmpeg."""
    frames = []
    for k in range(0, wave.shape[1], size):
        packed = np.ascontiguousarray(wave[:, k : k + size].T.reshape(1, -1), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(packed, format='flt', layout=layout)
        frame.sample_rate = RATE
        frames += av.AudioResampler(format=form).resample(frame)
    return frames


def level(wave, hertz):
    """Amplitude of a tone in a wave."""
    return 2 * abs((wave * np.exp(-2j * np.pi * hertz * TIME)).mean())


@pytest.mark.parametrize('layout', LAYOUTS)
def test_places_count_as_in_ffmpeg(layout):
    # `ffmpeg -ac 1` into whole numbers, where the matrix is scaled so that nothing clips
    wave = np.eye(len(names_of(layout)), dtype=np.float32)
    resampler = av.AudioResampler(format='s16p', layout='mono')
    (frame,) = frames_of(wave, layout, 'flt')
    theirs = np.concatenate([part.to_ndarray() for part in resampler.resample(frame)], axis=1)[0] / 32768
    np.testing.assert_allclose(mono_weights(names_of(layout)), theirs, atol=1e-4)


@pytest.mark.parametrize('planar', ['p', ''])
@pytest.mark.parametrize('form', ['flt', 's16', 's32', 's64'])
@pytest.mark.parametrize('count', [1, 2, 3, 7, 8, 9, 11, 12, 16, 24])
def test_any_number_of_channels(count, form, planar):
    # one that nobody has named the places of
    frames = frames_of(np.stack([tone(300 + 50 * k) for k in range(count)]), f'{count} channels', form + planar)
    mono = mono_samples(frames)
    assert mono.dtype == np.float32 and len(mono) == len(TIME)
    weights = mono_weights(['NONE'] * count)
    found = [level(mono, 300 + 50 * k) for k in range(count)]
    np.testing.assert_allclose(found, 0.5 * weights, atol=2e-4)
    assert weights.sum() == pytest.approx(1.0) and (count in GUESSED or set(weights) == {1 / count})


@pytest.mark.parametrize('form', ['flt', 'fltp', 's16p'])
@pytest.mark.parametrize('layout', ['3.1', '5.1', '7.1', '7.1.4', '22.2', '8 channels', 'ambisonic 1', 'ambisonic 2'])
def test_what_is_in_one_channel_alone_is_heard(layout, form):
    count = av.AudioLayout(layout).nb_channels
    for k in range(count):
        wave = np.zeros((count, len(TIME)))
        wave[k] = tone(400)
        assert level(mono_samples(frames_of(wave, layout, form)), 400) > 0.5 / 25


def test_the_bass_channel_is_left_out_beside_others():
    wave = np.zeros((6, len(TIME)))
    wave[2], wave[3] = tone(400), tone(100)
    mono = mono_samples(frames_of(wave, '5.1'))
    assert level(mono, 100) < 1e-4 and level(mono, 400) == pytest.approx(0.5 / (2 + 2 * math.sqrt(0.5)), abs=1e-4)


def test_of_ambisonic_sound_the_first_channel_is_heard():
    for layout in ('ambisonic 1', 'ambisonic 3'):
        wave = np.stack([tone(300 + 100 * k) for k in range(av.AudioLayout(layout).nb_channels)])
        np.testing.assert_allclose(mono_samples(frames_of(wave, layout)), wave[0], atol=1e-6)


def test_names_that_the_frames_do_not_have():
    wave = np.stack([tone(300), tone(500), np.zeros(len(TIME))])
    named = mono_samples(frames_of(wave, '3 channels'), ('LFE', 'FC', 'BC'))
    assert level(named, 300) < 1e-4 and level(named, 500) == pytest.approx(0.5 / 1.5, abs=1e-4)
    # the frames' own places stand
    own = mono_samples(frames_of(wave, '3.0'), ('LFE', 'FC', 'BC'))
    assert level(own, 300) == pytest.approx(0.5 * math.sqrt(0.5) / (1 + 2 * math.sqrt(0.5)), abs=1e-4)


def test_frames_that_ffmpeg_cannot_mix_are_mixed_here():
    for layout in ('5.1', '7.1', '8 channels'):
        (frame,) = frames_of(np.zeros((av.AudioLayout(layout).nb_channels, 8)), layout)
        assert downmixed(frame, 'stereo') is frame
    for layout in ('9 channels', 'ambisonic 1'):
        count = av.AudioLayout(layout).nb_channels
        (frame,) = frames_of(np.tile(tone(400)[:100], (count, 1)), layout)
        mono = downmixed(frame, 'stereo')
        assert (mono.layout.name, mono.sample_rate, mono.samples) == ('mono', RATE, 100)
        np.testing.assert_array_equal(mono.to_ndarray(), mono_frame(frame).to_ndarray())


def test_large_whole_numbers():
    samples = np.array([0, 2**31, 2**32 - 1], np.uint32)
    np.testing.assert_allclose(as_float(samples), [-1, 0, 1], atol=1e-7)
    assert as_float(samples).dtype == np.float32


def write(path, codec, layout, form, wave, **options):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=48000, layout=layout, options={'strict': '-2', **options})
        for frame in frames_of(wave, layout, form):
            frame.sample_rate, frame.pts = 48000, None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ('name', 'codec', 'layout', 'form', 'options'),
    [
        ('a.mp4', 'aac', '7.1', 'fltp', {}),
        ('a.mkv', 'libopus', '7.1', 'flt', {}),
        ('b.ogg', 'libopus', '16 channels', 'flt', dict(mapping_family='255')),
        ('c.ogg', 'libopus', 'ambisonic 1', 'flt', dict(mapping_family='2')),
        ('a.flac', 'flac', '7.1', 's16', {}),
        ('a.m4a', 'alac', '7.1(wide)', 's16p', {}),
        ('a.wav', 'pcm_s16le', '24 channels', 's16', {}),
        ('b.mkv', 'pcm_s16le', '11 channels', 's16', {}),
        ('a.w64', 'pcm_s32le', '9 channels', 's32', {}),
        ('a.caf', 'pcm_s16be', '7.1', 's16', {}),
        ('a.mov', 'pcm_s16le', '7.1', 's16', {}),
        # an order of channels of its own, an array in FFmpeg's layout
        ('b.mov', 'pcm_s16le', '6.1(front)', 's16', {}),
    ],
)
def test_files(tmp_path, name, codec, layout, form, options):
    wave = np.tile(0.5 * np.sin(2 * np.pi * 440 * np.arange(24000) / 48000), (av.AudioLayout(layout).nb_channels, 1))
    path = write(tmp_path / name, codec, layout, form, wave, **options)
    for _ in range(2):
        with open_media(str(path)) as reader:
            assert reader.info.channels == len(wave)
            ours = reader.read_audio(0.1, 0.4, 48000)
        expected = wave[0, 4800:19200]
        # delays of codecs are settled elsewhere: the level is compared, and the tone
        assert np.sqrt((ours**2).mean()) == pytest.approx(np.sqrt((expected**2).mean()), rel=0.05)
        assert np.argmax(np.abs(np.fft.rfft(ours))) == np.argmax(np.abs(np.fft.rfft(expected)))
