from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmav.datasets.transforms import CenterCrop, RandomResizedCrop, Resize

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), dtype=np.uint8)


def results(seed=0, views=1):
    return dict(video=[FRAMES] * views, rng=np.random.default_rng(seed))


@pytest.mark.parametrize(('size', 'shape'), [(20, (20, 30)), ((24, 50), (24, 50)), (80, (80, 120))])
def test_resize(size, shape):
    (out,) = Resize(size)(results())['video']
    assert out.shape == (4, *shape, 3)
    np.testing.assert_array_equal(out[2], cv2.resize(FRAMES[2], shape[::-1]))


def test_center_crop_as_torchvision():
    functional = pytest.importorskip('torchvision').transforms.functional
    import torch

    for size in ((21, 32), (40, 13), (40, 60)):
        (ours,) = CenterCrop(size)(results())['video']
        theirs = functional.center_crop(torch.from_numpy(FRAMES).permute(0, 3, 1, 2), list(size)).permute(0, 2, 3, 1)
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_center_crop_scales_up_what_is_too_small():
    (out,) = CenterCrop(64)(results())['video']
    assert out.shape == (4, 64, 64, 3)
    np.testing.assert_array_equal(out[0], cv2.resize(FRAMES[0], (96, 64))[:, 16:80])


def test_random_resized_crop_cuts_all_frames_of_a_view_alike():
    crop = RandomResizedCrop((16, 24))
    first, second = crop(results(views=2))['video']
    assert first.shape == (4, 16, 24, 3)
    assert (first != second).any()
    top, left, height, width = crop.draw(40, 60, np.random.default_rng(0))
    for k in range(4):
        cut = FRAMES[k, top : top + height, left : left + width]
        np.testing.assert_array_equal(first[k], cv2.resize(cut, (24, 16)))


def test_draws_are_distributed_as_torchvisions():
    transforms = pytest.importorskip('torchvision').transforms
    import torch

    crop, rng = RandomResizedCrop(16), np.random.default_rng(0)
    torch.manual_seed(0)
    image, n = torch.zeros(3, 40, 60), 3000
    ours = np.array([crop.draw(40, 60, rng) for _ in range(n)])
    theirs = np.array([transforms.RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)])
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.8)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), atol=0.8)


@pytest.mark.parametrize(('height', 'width'), [(10, 100), (100, 10)])
def test_middle_of_frames_that_no_crop_fits(height, width):
    top, left, h, w = RandomResizedCrop(16, scale=(1.0, 1.0)).draw(height, width, np.random.default_rng(0))
    assert (top + h / 2, left + w / 2) == (pytest.approx(height / 2, abs=1), pytest.approx(width / 2, abs=1))
    assert (min(h, w), max(h, w)) == (10, 13)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Resize((3, 4, 5)), r'\(height, width\), got \(3, 4, 5\)'),
        (lambda: CenterCrop(0), 'got 0'),
        (lambda: RandomResizedCrop(8, scale=(1.0, 0.5)), 'scale must be two numbers above 0'),
        (lambda: RandomResizedCrop(8, ratio=(0.0, 0.5)), 'ratio must be'),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
