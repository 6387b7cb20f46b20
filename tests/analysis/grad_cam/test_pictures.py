import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure

from mmav.analysis.grad_cam.pictures import (
    cam_painter,
    draw_spectrogram,
    overlay_heatmap,
)
from mmav.datasets.transforms import LogMel


def make_frames(count=4, height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_an_overlay_blends_with_the_colours_of_matplotlib():
    frames, cam = make_frames(), np.random.default_rng(1).random((4, 6, 8))
    before = frames.copy()
    found = overlay_heatmap(frames, cam, strength=0.4)
    wanted = 0.6 * frames + 0.4 * 255 * colormaps['jet'](cam)[..., :3]
    assert found.dtype == np.uint8 and np.abs(found - wanted).max() < 3
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(overlay_heatmap(frames, cam, strength=0), frames)
    assert overlay_heatmap(frames, cam * np.nan).shape == frames.shape


@pytest.mark.parametrize(
    ('frames', 'cam'),
    [
        (make_frames(), np.zeros((4, 6, 7))),
        (make_frames().astype(float), np.zeros((4, 6, 8))),
        (make_frames()[0], np.zeros((6, 8))),
    ],
)
def test_an_overlay_of_what_does_not_fit(frames, cam):
    with pytest.raises(ValueError, match=r'give \(T, H, W, 3\) uint8 and \(T, H, W\)'):
        overlay_heatmap(frames, cam)


MEL = LogMel(128, 90, backend='native')


@pytest.mark.parametrize('hertz', [250.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_bin_of_its_frequency(hertz):
    wave = np.sin(2 * np.pi * hertz * np.arange(16000) / 16000).astype(np.float32)
    loudest = MEL.spectrogram(wave).mean(axis=1).argmax()
    assert loudest + 0.5 == pytest.approx(MEL.bin_of(hertz), abs=1.5)


def test_a_spectrogram_has_axes_in_seconds_and_kilohertz():
    values = np.random.default_rng(0).normal(size=(128, 100))
    values[:, 80:] = 0  # padding
    axes = Figure().subplots()
    image = draw_spectrogram(axes, values, np.ones((128, 100)), axes_of=MEL, start=3.0)
    assert image.get_extent() == pytest.approx([3.0075, 4.0075, 0, 128])
    labels = {label.get_text(): place for label, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert labels['1 kHz'] == pytest.approx(MEL.bin_of(1000)) and labels['8 kHz'] == 128
    assert axes.get_ylabel() == '128 mel bins' and axes.get_xlabel() == 'seconds' and '16 kHz' not in labels
    grey = axes.images[0].get_array()
    assert np.ma.getmaskarray(grey)[:, 80:].all() and not np.ma.getmaskarray(grey)[:, :80].any()
    plain = Figure().subplots()
    draw_spectrogram(plain, np.zeros((16, 10)), None, axes_of=None)  # silent throughout
    assert plain.get_xlabel() == 'column'


def test_a_map_over_the_whole_frame_lies_in_the_crop_and_moves_with_time():
    frame = np.full((40, 80, 3), 200, np.uint8)
    cam = np.zeros((2, 10, 10), np.float32)
    cam[1] = 1
    paint = cam_painter(cam, np.array([1.0, 3.0]), (0.25, 0.0, 0.75, 1.0), strength=1.0)
    colour = (np.array(colormaps['jet']([0.0, 0.25, 1.0]))[:, :3] * 255).round()
    for seconds, index in ((0.0, 0), (1.0, 0), (1.5, 1), (3.0, 2), (9.0, 2)):
        painted = paint(frame, seconds)
        assert painted.shape == frame.shape and painted.dtype == np.uint8
        assert np.abs(painted[20, 40].astype(float) - colour[index]).max() <= 4, seconds
        assert (painted[:, :20] == 100).all() and (painted[:, 60:] == 100).all()
    assert (frame == 200).all()
    assert (cam_painter(cam, np.array([1.0, 3.0]))(frame, 3.0)[0, 0] != 100).any()


def test_a_map_of_one_frame_holds_for_the_whole_clip():
    frame = np.zeros((4, 4, 3), np.uint8)
    paint = cam_painter(np.ones((1, 2, 2), np.float32), np.array([1.0]), (0.0, 0.0, 0.01, 0.01))
    np.testing.assert_array_equal(paint(frame, 0.0), paint(frame, 5.0))
