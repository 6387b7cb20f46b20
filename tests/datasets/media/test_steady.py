"""Times of sound frames: wavering time stamps do not tear sound apart, gaps stay gaps."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mmav.datasets.media.steady import steady

RATE, SAMPLES = 8000, 160
FRAME = SAMPLES / RATE


def dated(times):
    frames = []
    for time in times:
        frame = av.AudioFrame(format='s16', layout='mono', samples=SAMPLES)
        frame.sample_rate = RATE
        frames.append((time, frame))
    return np.array([time for time, _ in steady(frames)])


def test_stamps_by_arrival_are_no_gaps():
    even = 5.0 + FRAME * np.arange(100)
    # A phone's, or a call's: each packet up to 40 ms late or early.
    wavering = even + np.random.default_rng(0).uniform(-0.04, 0.04, 100)
    found = dated(wavering)
    np.testing.assert_allclose(np.diff(found), FRAME, atol=1e-9)
    np.testing.assert_allclose(found, even, atol=0.04)


@pytest.mark.parametrize('gap', [0.02, 0.021, 0.5, -0.02, -0.3])
def test_a_gap_stays_a_gap(gap):
    even = FRAME * np.arange(60)
    even[30:] += gap
    np.testing.assert_allclose(dated(even), even, atol=1e-9)


def test_losses_add_up():
    # Every other frame was lost.
    even = FRAME * np.arange(0, 60, 2)
    np.testing.assert_allclose(dated(even), even, atol=1e-9)


def test_one_wrong_stamp_is_passed_over():
    even = FRAME * np.arange(30)
    wrong = even.copy()
    wrong[10] += 3.0
    np.testing.assert_allclose(dated(wrong), even, atol=1e-9)


def test_nothing():
    assert steady([]) == []
