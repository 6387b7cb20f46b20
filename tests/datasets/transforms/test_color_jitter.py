"""Against torchvision's adjustments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmav.datasets.transforms import ColorJitter
from mmav.datasets.transforms.color_jitter import shift_hue

Y, X = np.mgrid[:24, :32]
FRAMES = np.stack([np.stack([7 * X, 30 + 5 * Y, 200 - X - 3 * Y], axis=-1)] * 2).astype(np.uint8)


@pytest.mark.parametrize('shift', [-0.5, -0.2, 0.0, 0.1, 0.37])
def test_hue(shift):
    functional = pytest.importorskip('torchvision').transforms.functional
    theirs = functional.adjust_hue(torch.from_numpy(FRAMES).permute(0, 3, 1, 2), shift).permute(0, 2, 3, 1).numpy()
    difference = np.abs(shift_hue(FRAMES, shift).astype(int) - theirs)
    # 8-bit hue, saturation and value are coarse where a colour is dark.
    assert difference.mean() < 3 and np.percentile(difference, 95) <= 8


@pytest.mark.parametrize('name', ['brightness', 'contrast', 'saturation'])
def test_range_of_factors_and_their_effect(name):
    functional = pytest.importorskip('torchvision').transforms.functional
    adjust = getattr(functional, f'adjust_{name}')
    given = torch.from_numpy(FRAMES).permute(0, 3, 1, 2)
    candidates = {f: adjust(given, f).permute(0, 2, 3, 1).numpy().astype(int) for f in np.arange(0.55, 1.5, 0.05)}
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        (out,) = ColorJitter(**{name: 0.4})(dict(video=[FRAMES], rng=rng))['video']
        errors = {factor: np.abs(out.astype(int) - frames).mean() for factor, frames in candidates.items()}
        found.append(min(errors, key=errors.__getitem__))
        assert min(errors.values()) < 4
    assert 0.55 <= min(found) < 0.75 and 1.25 < max(found) <= 1.45


def test_nothing_to_do_leaves_the_frames_alone():
    (out,) = ColorJitter()(dict(video=[FRAMES], rng=np.random.default_rng(0)))['video']
    np.testing.assert_array_equal(out, FRAMES)


def test_wrong_arguments():
    with pytest.raises(ValueError, match='hue at most 0.5'):
        ColorJitter(hue=0.6)
