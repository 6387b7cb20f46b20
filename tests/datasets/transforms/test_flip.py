from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.transforms import RandomFlip

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)


def flipped(p, views=1):
    return RandomFlip(p)(dict(video=[FRAMES] * views, rng=np.random.default_rng(0)))['video']


def test_mirrors_left_and_right():
    np.testing.assert_array_equal(flipped(1.0)[0], FRAMES[:, :, ::-1])
    np.testing.assert_array_equal(flipped(0.0)[0], FRAMES)


def test_each_view_has_its_own_draw():
    share = np.mean([view[0, 0, 0, 0] == FRAMES[0, 0, -1, 0] for view in flipped(0.3, 600)])
    assert share == pytest.approx(0.3, abs=0.06)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r'\[0, 1\], got 1.5'):
        RandomFlip(1.5)
