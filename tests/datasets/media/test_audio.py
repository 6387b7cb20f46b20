"""Resampling against scipy, mixing beside FFmpeg's own downmix; placing by time stamps, which may waver."""

from __future__ import annotations

import math

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from mmav.datasets.media import audio, open_media
from mmav.datasets.media.audio import GUESSED, as_float, mono_samples, mono_weights, place_frames, steady


def frames_of(wave, rate, *, start=0.0, layout='mono', form='fltp', size=1024):
    """Audio frames (time, frame) of a waveform (channels, S)."""
    out = []
    for k in range(0, wave.shape[1], size):
        piece = wave[:, k : k + size]
        if not form.endswith('p'):
            piece = piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format=form, layout=layout)
        frame.sample_rate = rate
        out.append((start + k / rate, frame))
    return out


def tones(rate, seconds=1.0):
    time = np.arange(round(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * np.pi * f * time) for f in (440, 1234.5)]).astype(np.float32)


@pytest.mark.parametrize('rate', [44100, 48000, 22050, 8000])
def test_resampling(rate):
    wave = tones(rate)
    ours = place_frames(frames_of(wave[:1], rate), 0.0, 1.0, 16000)
    divisor = np.gcd(rate, 16000)
    theirs = resample_poly(wave[0], 16000 // divisor, rate // divisor)
    np.testing.assert_allclose(ours[200:-200], theirs[200:-200], atol=0.01)


@pytest.mark.parametrize('form', ['fltp', 'flt'])
def test_two_channels_are_averaged(form):
    wave = tones(16000)
    ours = place_frames(frames_of(wave, 16000, layout='stereo', form=form), 0.0, 1.0, 16000)
    np.testing.assert_allclose(ours, wave.mean(axis=0), atol=1e-6)


def test_whole_numbers_become_parts_of_one():
    wave = (tones(16000)[:1] * 32768).astype(np.int16)
    ours = place_frames(frames_of(wave, 16000, form='s16'), 0.0, 1.0, 16000)
    np.testing.assert_allclose(ours, wave[0] / 32768, atol=1e-6)


@pytest.mark.parametrize('form', ['s16', 's16p', 's32', 's32p', 'u8', 'u8p', 'flt', 'fltp', 'dbl', 'dblp'])
def test_every_format_of_two_channels_gives_the_same_sound(form):
    wave = tones(44100)
    expected = place_frames(frames_of(wave, 44100, layout='stereo'), 0.0, 1.0, 16000)
    resampler = av.AudioResampler(format=form)
    frames = []
    for time, frame in frames_of(wave, 44100, layout='stereo'):
        frame.pts = None
        frames += [(time, other) for other in resampler.resample(frame)]
    atol = {'u8': 2 / 128, 's1': 2 / 32768}.get(form[:2], 1e-6)
    np.testing.assert_allclose(place_frames(frames, 0.0, 1.0, 16000), expected, atol=atol)


def test_whole_numbers_around_the_middle():
    np.testing.assert_array_equal(as_float(np.array([0, 128, 192], np.uint8)), np.float32([-1, 0, 0.5]))
    np.testing.assert_array_equal(as_float(np.array([-(2**31), 0, 2**30], np.int32)), np.float32([-1, 0, 0.5]))


def test_mixed_before_resampling_or_after_is_the_same():
    wave = tones(44100) * np.float32([[1.0], [0.3]])
    one, two = (place_frames(frames_of(channel[None], 44100), 0.0, 1.0, 16000) for channel in wave)
    both = place_frames(frames_of(wave, 44100, layout='stereo'), 0.0, 1.0, 16000)
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)


def test_surround_sound_does_not_clip():
    wave = np.repeat(tones(16000)[:1] * 2.4, 6, axis=0)
    ours = place_frames(frames_of(wave, 16000, layout='5.1'), 0.0, 1.0, 16000)
    assert 0.5 < np.abs(ours).max() <= 1.0
    assert np.corrcoef(ours, wave[0])[0, 1] > 0.999


def test_span_cuts_and_pads():
    wave = tones(16000)[:1]
    frames = frames_of(wave, 16000, start=2.0)
    np.testing.assert_array_equal(place_frames(frames, 2.25, 2.75, 16000), wave[0, 4000:12000])
    out = place_frames(frames, 1.5, 3.5, 16000)
    assert out.shape == (32000,) and not out[:8000].any() and not out[24000:].any()
    np.testing.assert_array_equal(out[8000:24000], wave[0])
    assert place_frames(frames, 3.5, 4.0, 16000) is None
    assert place_frames([], 0.0, 1.0, 16000) is None


def test_a_gap_between_time_stamps_stays_a_gap():
    wave = tones(16000)[:1]
    frames = frames_of(wave, 16000)
    out = place_frames(frames[:4] + frames[6:], 0.0, 1.0, 16000)
    lost = slice(4 * 1024, 6 * 1024)
    assert not out[lost].any()
    np.testing.assert_array_equal(np.delete(out, np.r_[lost]), np.delete(wave[0], np.r_[lost]))


def test_rounded_time_stamps_do_not_tear_the_sound():
    wave = tones(44100)[:1]
    exact = place_frames(frames_of(wave, 44100), 0.0, 1.0, 16000)
    rounded = [(round(time, 3), frame) for time, frame in frames_of(wave, 44100)]
    np.testing.assert_array_equal(place_frames(rounded, 0.0, 1.0, 16000), exact)


def test_long_sound_goes_through_in_parts(monkeypatch):
    frames = frames_of(tones(44100)[:1], 44100)
    whole = place_frames(frames, 0.0, 1.0, 16000)
    monkeypatch.setattr(audio, 'MOST_SAMPLES', 5000)
    np.testing.assert_allclose(place_frames(frames, 0.0, 1.0, 16000), whole, atol=1e-6)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -np.inf, 1e20])
@pytest.mark.parametrize(('layout', 'rate'), [('mono', 16000), ('stereo', 44100), ('5.1', 16000)])
def test_samples_that_are_no_numbers_are_damage(wrong, layout, rate):
    count = av.AudioLayout(layout).nb_channels
    wave = np.repeat(tones(rate)[:1], count, axis=0)
    whole = place_frames(frames_of(wave, rate, layout=layout), 0.0, 1.0, 16000)
    wave[:, rate // 2] = wrong
    damage = []
    ours = place_frames(
        frames_of(wave, rate, layout=layout), 0.0, 1.0, 16000, on_damage=lambda: damage.append(1)
    )  # fmt: skip
    assert len(damage) == 1 and np.isfinite(ours).all()
    far = np.abs(np.arange(16000) - 8000) > 200
    np.testing.assert_allclose(ours[far], whole[far], atol=1e-4)


def test_sound_without_any_number_is_refused():
    frames = frames_of(np.full((1, 1600), np.nan, np.float32), 16000)
    with pytest.raises(ValueError, match='none of its samples is a finite number'):
        place_frames(frames, 0.0, 0.1, 16000)


def test_a_change_of_channels_format_and_rate_is_heard_through():
    parts = [
        (1, 'mono', 'fltp', 16000),
        (6, '5.1', 's16', 48000),
        (2, 'stereo', 'flt', 44100),
        (4, 'quad', 's16p', 8000),
    ]
    frames = []
    for k, (count, layout, form, rate) in enumerate(parts):
        wave = np.repeat(tones(rate)[:1], count, axis=0)
        wave = (wave * 32767).astype(np.int16) if form.startswith('s16') else wave
        frames += frames_of(wave, rate, start=float(k), layout=layout, form=form)
    ours = place_frames(frames, 0.0, 4.0, 16000).reshape(4, 16000)
    # the whole tone of 440 Hz in each second: a full period at its borders
    for part in ours:
        np.testing.assert_allclose(part[300:-300], tones(16000)[0][300:-300], atol=0.01)


RATE = 8000
TIME = np.arange(800) / RATE
LAYOUTS = ['2.1', '3.0(back)', 'quad', '5.1', '5.1(side)', '6.1(front)', '7.1', '7.1(wide)', '7.1.4', '9.1.6']


def names_of(layout):
    return [channel.name for channel in av.AudioLayout(layout).channels]


def tone(hertz):
    return 0.5 * np.sin(2 * np.pi * hertz * TIME)


def packed_frames(wave, layout, form='fltp', size=256):
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
    (frame,) = packed_frames(wave, layout, 'flt')
    theirs = np.concatenate([part.to_ndarray() for part in resampler.resample(frame)], axis=1)[0] / 32768
    np.testing.assert_allclose(mono_weights(names_of(layout)), theirs, atol=1e-4)


@pytest.mark.parametrize('planar', ['p', ''])
@pytest.mark.parametrize('form', ['flt', 's16', 's32', 's64'])
@pytest.mark.parametrize('count', [1, 2, 3, 7, 8, 9, 11, 12, 16, 24])
def test_any_number_of_channels(count, form, planar):
    # one that nobody has named the places of
    frames = packed_frames(np.stack([tone(300 + 50 * k) for k in range(count)]), f'{count} channels', form + planar)
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
        assert level(mono_samples(packed_frames(wave, layout, form)), 400) > 0.5 / 25


def test_the_bass_channel_is_left_out_beside_others():
    wave = np.zeros((6, len(TIME)))
    wave[2], wave[3] = tone(400), tone(100)
    mono = mono_samples(packed_frames(wave, '5.1'))
    assert level(mono, 100) < 1e-4 and level(mono, 400) == pytest.approx(0.5 / (2 + 2 * math.sqrt(0.5)), abs=1e-4)


def test_of_ambisonic_sound_the_first_channel_is_heard():
    for layout in ('ambisonic 1', 'ambisonic 3'):
        wave = np.stack([tone(300 + 100 * k) for k in range(av.AudioLayout(layout).nb_channels)])
        np.testing.assert_allclose(mono_samples(packed_frames(wave, layout)), wave[0], atol=1e-6)


def test_names_that_the_frames_do_not_have():
    wave = np.stack([tone(300), tone(500), np.zeros(len(TIME))])
    named = mono_samples(packed_frames(wave, '3 channels'), ('LFE', 'FC', 'BC'))
    assert level(named, 300) < 1e-4 and level(named, 500) == pytest.approx(0.5 / 1.5, abs=1e-4)
    # the frames' own places stand
    own = mono_samples(packed_frames(wave, '3.0'), ('LFE', 'FC', 'BC'))
    assert level(own, 300) == pytest.approx(0.5 * math.sqrt(0.5) / (1 + 2 * math.sqrt(0.5)), abs=1e-4)


def test_large_whole_numbers():
    samples = np.array([0, 2**31, 2**32 - 1], np.uint32)
    np.testing.assert_allclose(as_float(samples), [-1, 0, 1], atol=1e-7)
    assert as_float(samples).dtype == np.float32


def write(path, codec, layout, form, wave, **options):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=48000, layout=layout, options={'strict': '-2', **options})
        for frame in packed_frames(wave, layout, form):
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


SAMPLES = 160
FRAME = SAMPLES / RATE


def dated(times):
    frames = []
    for time in times:
        frame = av.AudioFrame(format='s16', layout='mono', samples=SAMPLES)
        frame.sample_rate = RATE
        frames.append((time, frame))
    return np.array([time for time, _ in steady(frames)])


def test_stamps_by_arrival_are_no_gaps():
    even = 5.0 + FRAME * np.arange(100)
    # A phone's, or a call's: each packet up to 40 ms late or early.
    wavering = even + np.random.default_rng(0).uniform(-0.04, 0.04, 100)
    found = dated(wavering)
    np.testing.assert_allclose(np.diff(found), FRAME, atol=1e-9)
    np.testing.assert_allclose(found, even, atol=0.04)


@pytest.mark.parametrize('gap', [0.02, 0.021, 0.5, -0.02, -0.3])
def test_a_gap_stays_a_gap(gap):
    even = FRAME * np.arange(60)
    even[30:] += gap
    np.testing.assert_allclose(dated(even), even, atol=1e-9)


def test_losses_add_up():
    # Every other frame was lost.
    even = FRAME * np.arange(0, 60, 2)
    np.testing.assert_allclose(dated(even), even, atol=1e-9)


def test_one_wrong_stamp_is_passed_over():
    even = FRAME * np.arange(30)
    wrong = even.copy()
    wrong[10] += 3.0
    np.testing.assert_allclose(dated(wrong), even, atol=1e-9)


def test_nothing():
    assert steady([]) == []
