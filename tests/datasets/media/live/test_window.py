import av
import numpy as np
import pytest

from mmav.datasets.media.live.window import Heard, LiveWindow, Seen
from mmav.errors import MediaError


def seen(k, size=(4, 6)):
    return Seen(k, k / 10, 0.0, np.full((*size, 3), k, np.uint8))


def heard(k, rate=16000, value=0.5):
    frame = av.AudioFrame.from_ndarray(np.full((1, rate // 10), value, np.float32), format='fltp', layout='mono')
    frame.sample_rate = rate
    return Heard(k / 10, k / 10, 0.0, frame)


def test_nearest_frames_and_exact_audio():
    window = LiveWindow(
        'cam', 1.0, video=[seen(k) for k in range(11)], audio=[heard(k) for k in range(10)], clock=(0.1, 0.0),
        channels=('FC',),
    )  # fmt: skip
    frames, times = window.read_frames([0.04, 0.26, 0.25, 9.0])
    assert frames[:, 0, 0, 0].tolist() == [0, 3, 2, 10] and times == pytest.approx([0.0, 0.3, 0.2, 1.0])
    wave = window.read_audio(0.2, 0.9, 16000)
    assert wave.shape == (11200,) and (wave == 0.5).all() and window.heard == (0.2, pytest.approx(0.9))
    assert window.fetch(0.5, 2.0) == (0.5, 1.0)


def test_audio_that_is_not_there_is_not_heard():
    window = LiveWindow('cam', 1.0, video=None, audio=[heard(k) for k in range(3)])
    assert window.read_audio(0.2, 1.0, 16000)[1600:].max() == 0 and window.heard == (0.2, pytest.approx(0.3))
    assert window.read_audio(0.5, 1.0, 16000) is None and window.heard is None
    with pytest.raises(MediaError, match='cam: has no video track'):
        window.read_frames([0.0])
    with pytest.raises(MediaError, match='cam: has no audio track'):
        LiveWindow('cam', 1.0, video=[], audio=None).read_audio(0.0, 1.0, 16000)


def test_frames_of_one_size():
    window = LiveWindow('cam', 1.0, video=[seen(0), seen(1), seen(2, (8, 6))], audio=None, clock=(0.1, 0.0))
    assert window.read_frames([0.0, 0.1])[0].shape == (2, 8, 6, 3) and window.info.height == 8
