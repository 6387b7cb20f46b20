from __future__ import annotations

import numpy as np

from mmav.datasets.media.frame_plan import nearest, plan_frames


def test_nearest_against_a_slow_search():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 50):
        values = np.sort(rng.choice(1000, size, replace=False))
        wanted = rng.uniform(-100, 1100, 200)
        slow = [int(np.argmin(np.abs(values - x))) for x in wanted]
        np.testing.assert_array_equal(nearest(values, wanted), slow)


def plan(pts, keys, wanted, hidden=()):
    return plan_frames(pts, [i in keys for i in range(len(pts))], [p not in hidden for p in pts], np.array(wanted))


def test_groups_without_a_wanted_frame_are_passed_over():
    pts = [0, 3, 1, 2, 4, 7, 5, 6, 8, 11, 9, 10]
    assert plan(pts, {0, 4, 8}, [1.2, 9.4]) == ([range(4), range(8, 12)], {1, 9})
    assert plan(pts, {0, 4, 8}, [2.0, 5.0]).runs == [range(8)]


def test_a_group_is_decoded_as_far_as_it_is_wanted():
    pts = list(range(12))
    # One packet more, which may hold the second field.
    assert plan(pts, {0, 6}, [1.0, 8.0]).runs == [range(3), range(6, 10)]
    # Another group needs all of it.
    assert plan([0, 1, 2, 4, 3, 5], {0, 3}, [0.0, 3.0]).runs == [range(6)]


def test_a_leading_picture_needs_the_group_before():
    # The second group is open: 3 is shown before its keyframe 4 and refers to the first group.
    pts = [0, 1, 2, 4, 3, 5]
    assert plan(pts, {0, 3}, [3.0]).runs == [range(6)]
    assert plan(pts, {0, 3}, [5.0]).runs == [range(3, 6)]


def test_hidden_frames_are_never_wanted():
    assert plan([-2, -1, 0, 1], {0}, [-5.0, 0.9], hidden=(-2, -1)).needed == {0, 1}
    assert plan([-2, -1], {0}, [0.0], hidden=(-2, -1)) == ([], frozenset())
