from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.transforms import RandomErasing
from mmav.datasets.transforms.random_erasing import normal_levels

GREY = np.full((3, 60, 80, 3), 7, np.uint8)


def erased(seed, **options):
    return RandomErasing(**options)(dict(video=[GREY], rng=np.random.default_rng(seed)))['video'][0]


def test_one_rectangle_the_same_in_all_frames_filled_with_noise():
    areas = []
    for seed in range(60):
        out = erased(seed, p=1.0)
        hit = (out != 7).any(axis=(0, 3))
        rows, columns = np.flatnonzero(hit.any(axis=1)), np.flatnonzero(hit.any(axis=0))
        box = out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
        assert (box[0] != box[1]).any()
        assert (out != 7).sum() == (box != 7).sum()
        areas.append(box[0, ..., 0].size / (60 * 80))
        if box.size > 3000:
            # A normal distribution, cut to what uint8 holds.
            assert box.mean() == pytest.approx(0.45 * 255, abs=8) and box.std() == pytest.approx(55, abs=6)
    assert 0.015 < min(areas) < 0.06 and 0.25 < max(areas) < 0.36
    assert (GREY == 7).all()


def test_levels_are_those_of_a_normal_distribution():
    drawn = np.clip(np.random.default_rng(0).normal(60, 40, 400_000), 0, 255).astype(np.uint8)
    levels = normal_levels(60, 40)
    shares, expected = (np.bincount(x, minlength=256) / len(x) for x in (levels, drawn))
    np.testing.assert_allclose(shares, expected, atol=1e-3)
    assert levels[0] == 0 and levels[-1] == pytest.approx(60 + 4.3 * 40, abs=2)


def test_probability():
    share = np.mean([(erased(seed) != 7).any() for seed in range(400)])
    assert share == pytest.approx(0.25, abs=0.07)


def test_wrong_arguments():
    with pytest.raises(ValueError, match='p must lie'):
        RandomErasing(-0.1)
    with pytest.raises(ValueError, match='area and min_aspect'):
        RandomErasing(area=(0.5, 0.2))
