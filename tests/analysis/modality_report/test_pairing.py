from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from mmav.analysis.modality_report.pairing import NONE, blocks, partners, twins


@pytest.mark.parametrize('seed', range(3))
def test_every_clip_is_in_one_group_of_its_label(seed):
    labels = np.random.default_rng(seed).integers(9, size=100).tolist() + ['lonely']
    groups = twins(labels, seed)
    assert sorted(place for group in groups for place in group) == list(range(101))
    assert all(len({labels[place] for place in group}) == 1 for group in groups)
    odd = sum(count % 2 for count in Counter(labels[:100]).values())
    assert Counter(map(len, groups)) == {1: 1, 3: odd, 2: (100 - 3 * odd) // 2}
    assert groups == twins(labels, seed) != twins(labels, seed + 1)
    # the order is random: not one label after the other
    firsts = [labels[group[0]] for group in groups]
    assert sum(one == two for one, two in pairwise(firsts)) < len(firsts) / 2


def test_blocks_hold_groups_whole():
    groups = twins(np.arange(90) % 30, 0)
    made = blocks(groups, 16)
    assert [group for block in made for group in block] == groups
    sizes = [sum(map(len, block)) for block in made]
    assert min(sizes) >= 16 and max(sizes) < 16 + 3 + 8
    assert blocks([[0]], 16) == [[[0]]]


def test_partners_are_never_oneself():
    sizes, usable = [2, 3, 1, 2, 2], np.ones(10, dtype=bool)
    usable[[1, 7]] = False
    group = np.repeat(np.arange(5), sizes)
    drawn = set()
    for seed in range(20):
        other, alike = partners(sizes, usable, np.random.default_rng(seed))
        for found in (other, alike):
            given = found[found != NONE]
            assert len(set(given)) == len(given) and usable[given].all() and usable[found != NONE].all()
            assert (found != np.arange(10)).all()
        assert (other != NONE).sum() == 8
        np.testing.assert_array_equal(alike != NONE, np.isin(np.arange(10), [2, 3, 4, 8, 9]))
        assert (group[alike[alike != NONE]] == group[alike != NONE]).all()
        drawn.add(tuple(other))
    assert len(drawn) > 10


def test_there_is_nobody_else():
    for usable in ([True], [True, False], [False, False]):
        other, alike = partners([len(usable)], np.array(usable), np.random.default_rng(0))
        assert (other == NONE).all() and (alike == NONE).all()
