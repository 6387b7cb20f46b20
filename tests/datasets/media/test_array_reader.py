import numpy as np
import pytest

from mmav.datasets.media import ArrayReader, MediaReader
from mmav.datasets.media.streaming import StreamReader
from mmav.errors import MediaError

FRAMES = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.full((8, 12, 16, 3), 30, np.uint8)


def tone(sample_rate, hertz=440.0, seconds=2.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * sample_rate)) / sample_rate).astype(np.float32)


def test_it_is_a_reader():
    with ArrayReader(FRAMES, 4, tone(8000), sample_rate=8000) as reader:
        assert isinstance(reader, MediaReader)
        assert (reader.info.duration, reader.info.has_video, reader.info.has_audio) == (2.0, True, True)
        assert reader.fetch(0.5, 9.0) == (0.5, 2.0)


def test_nearest_frames_as_of_a_file(flashes):
    with StreamReader(str(flashes)) as file:
        decoded = np.stack([frame.to_ndarray(format='rgb24') for _, frame in file.iter_frames(0.0, 4.0)])
        times = np.linspace(0.01, 3.95, 23)
        expected, stamps = file.read_frames(times, short_side=24)
    with ArrayReader(decoded, 30) as reader:
        frames, own = reader.read_frames(times, short_side=24)
    assert own == pytest.approx(stamps, abs=2e-3)
    assert frames.shape == expected.shape
    # scaled from RGB here and from the file's YUV there, which rounds twice; neighbouring frames differ by more
    assert np.abs(frames.astype(int) - expected).max() <= 3


def test_sound_is_mixed_resampled_and_cut_exactly():
    stereo = np.stack([tone(48000), np.zeros(96000, np.float32)])
    with ArrayReader(audio=stereo, sample_rate=48000) as reader:
        wave = reader.read_audio(0.5, 1.25, 16000)
        beyond = reader.read_audio(1.5, 2.5, 16000)
    assert wave.shape == (12000,)
    assert wave[100:-100] == pytest.approx(0.5 * tone(16000)[8000:20000][100:-100], abs=2e-3)
    assert beyond.shape == (16000,) and not beyond[8100:].any() and beyond[:7900].any()


def test_whole_numbers_are_scaled_to_one():
    samples = (tone(16000) * 32767).astype(np.int16)
    with ArrayReader(audio=samples, sample_rate=16000) as reader:
        assert reader.read_audio(0.0, 2.0, 16000) == pytest.approx(tone(16000), abs=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(), 'neither video nor audio'),
        (dict(video=FRAMES), 'video needs fps'),
        (dict(video=FRAMES.astype(float), fps=4), 'uint8 RGB, got shape .* of float64'),
        (dict(video=FRAMES[..., 0], fps=4), r'frames \(T, H, W, 3\)'),
        (dict(video=FRAMES[:0], fps=4), r'frames \(T, H, W, 3\)'),
        (dict(audio=tone(8000)), 'needs sample_rate'),
        (dict(audio=np.zeros((16000, 2)), sample_rate=8000), 'channels come first'),
        (dict(audio=np.zeros(0), sample_rate=8000), r'samples \(S,\) or \(C, S\)'),
        (dict(audio=np.full(9, np.nan), sample_rate=8000), 'not finite'),
        (dict(audio=np.zeros(9, complex), sample_rate=8000), 'of complex128'),
    ],
)
def test_arrays_that_make_no_sense(arguments, message):
    with pytest.raises(MediaError, match=message):
        ArrayReader(**arguments)


def test_what_is_absent_is_named():
    with ArrayReader(FRAMES, 4, name='mine') as reader, pytest.raises(MediaError, match='mine: has no audio track'):
        reader.read_audio(0.0, 1.0, 16000)
    with ArrayReader(audio=tone(8000), sample_rate=8000) as reader, pytest.raises(MediaError, match='has no video'):
        reader.read_frames([0.0])


def test_narrow_pictures_are_not_scaled_up_without_bound():
    reader = ArrayReader(video=np.zeros((8, 2000, 2, 3), np.uint8), fps=4)
    with pytest.raises(MediaError, match='2 x 2000 pixels are more than 64 times as long as wide'):
        reader.read_frames([0.0], short_side=224)
