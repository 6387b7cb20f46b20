from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.transforms import AudioViews, SpecAugment


def test_views_get_masks_of_their_own():
    wave = np.ones((128, 100), np.float32)
    views = AudioViews(2)(dict(audio=[wave], rng=np.random.default_rng(0)))
    np.testing.assert_array_equal(views['audio'], [wave, wave])
    first, second = SpecAugment(48, 50)(views)['audio']
    assert (first != second).any()


def test_wrong_arguments():
    with pytest.raises(ValueError, match='at least 1, got 0'):
        AudioViews(0)
