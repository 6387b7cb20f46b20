from __future__ import annotations

import numpy as np
import pytest
import torch

from mmav.datasets.transforms import SpecAugment


def masked(seed, freq=48, time=192, shape=(128, 1024)):
    ones = np.ones(shape, np.float32)
    out = SpecAugment(freq, time)(dict(audio=[ones], rng=np.random.default_rng(seed)))['audio'][0]
    assert ones.all()
    return out


def test_one_band_and_one_stretch():
    for seed in range(20):
        out = masked(seed)
        rows, columns = (out == 0).all(axis=1), (out == 0).all(axis=0)
        assert rows.sum() < 48 and columns.sum() < 192
        for dark in (rows, columns):
            assert np.count_nonzero(np.diff(dark.astype(int)) == 1) + dark[0] <= 1
        np.testing.assert_array_equal(out == 0, rows[:, None] | columns)


def test_widths_and_places_are_distributed_as_torchaudios():
    functional = pytest.importorskip('torchaudio').functional
    ours = np.array([(masked(seed, 40, 0, (64, 8)) == 0).all(axis=1) for seed in range(1500)])
    torch.manual_seed(0)
    ones = torch.ones(1, 64, 8)
    theirs = np.array([(functional.mask_along_axis(ones, 40, 0.0, 1)[0] == 0).all(dim=1).numpy() for _ in range(1500)])
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.06)
    assert ours.sum(axis=1).mean() == pytest.approx(theirs.sum(axis=1).mean(), abs=1.0)


def test_masks_wider_than_the_spectrogram_and_none():
    assert masked(1, 500, 500, (4, 6)).shape == (4, 6)
    assert masked(0, 0, 0).all()


def test_wrong_arguments():
    with pytest.raises(ValueError, match='cannot be negative'):
        SpecAugment(-1)


def test_masks_of_time_within_the_clip():
    for seed in range(20):
        results = dict(audio=[np.ones((8, 100), np.float32)], audio_frames=40, rng=np.random.default_rng(seed))
        out = SpecAugment(0, 30, num_masks=2, skip_padding=True)(results)['audio'][0]
        assert out[:, 40:].all()
    assert 1 <= np.count_nonzero((out == 0).all(axis=0)) < 40


def test_several_masks_are_those_of_several_transforms():
    ones, rng = np.ones((16, 50), np.float32), np.random.default_rng(3)
    twice = SpecAugment(6, 12)(SpecAugment(6, 12)(dict(audio=[ones], rng=rng)))['audio'][0]
    once = SpecAugment(6, 12, num_masks=2)(dict(audio=[ones], rng=np.random.default_rng(3)))['audio'][0]
    np.testing.assert_array_equal(once, twice)
    with pytest.raises(ValueError, match='num_masks must be at least 1, got 0'):
        SpecAugment(num_masks=0)
