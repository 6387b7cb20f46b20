from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.transforms.sample_frames import choose_window, sample_times


def rng():
    return np.random.default_rng(0)


def test_window_in_the_middle_or_at_random():
    assert choose_window(2.0, 10.0, window=4.0) == (4.0, 8.0)
    assert choose_window(2.0, 10.0) == (2.0, 10.0)
    assert choose_window(2.0, 10.0, window=9.0, rng=rng()) == (2.0, 10.0)
    draw = rng()
    begins = [choose_window(2.0, 10.0, window=4.0, rng=draw)[0] for _ in range(200)]
    assert 2.0 <= min(begins) < 2.2 and 5.8 < max(begins) <= 6.0


def test_segments():
    np.testing.assert_allclose(sample_times(1.0, 5.0, 4), [[1.5, 2.5, 3.5, 4.5]])
    np.testing.assert_allclose(sample_times(0.0, 4.0, 2, num_views=2), [[0.5, 2.5], [1.5, 3.5]])
    random = sample_times(1.0, 5.0, 4, num_views=50, rng=rng())
    assert random.shape == (50, 4)
    assert (np.floor(random) == [1, 2, 3, 4]).all()
    assert random.std(axis=0).min() > 0.2


def test_fixed_interval():
    np.testing.assert_allclose(sample_times(0.0, 4.0, 4, frame_interval=0.5), [[1.0, 1.5, 2.0, 2.5]])
    starts = sample_times(0.0, 10.0, 4, num_views=5, frame_interval=0.5)[:, 0]
    np.testing.assert_allclose(starts, [0.0, 2.0, 4.0, 6.0, 8.0])
    random = sample_times(1.0, 5.0, 4, num_views=50, frame_interval=0.5, rng=rng())
    np.testing.assert_allclose(np.diff(random), 0.5)
    assert random.min() >= 1.0 and random.max() <= 5.0 and np.ptp(random[:, 0]) > 1.5


def test_a_window_shorter_than_the_view_repeats_its_end():
    np.testing.assert_allclose(sample_times(1.0, 2.0, 4, frame_interval=0.5), [[1.0, 1.5, 2.0, 2.0]])


@pytest.mark.parametrize('interval', [None, 0.1])
def test_the_same_draw_gives_the_same_times(interval):
    first, second = (sample_times(0, 9, 8, frame_interval=interval, rng=rng()) for _ in range(2))
    np.testing.assert_array_equal(first, second)
