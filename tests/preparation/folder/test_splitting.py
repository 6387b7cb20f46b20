"""Held-out clips: of every class, never of a recording that is trained on, and the same for the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.preparation.folder.splitting import hold_out

SHARES = dict(test=0.2, val=0.2)


@pytest.mark.parametrize('seed', range(5))
def test_shares_hold_and_no_recording_is_on_two_sides(seed):
    rng = np.random.default_rng(seed)
    sources = [f's{k}' for k in rng.integers(0, 60, 300)]
    # some recordings hold several classes
    labels = [f'c{(int(source[1:]) + (k % 9 == 0)) % 4}' for k, source in enumerate(sources)]
    parts = hold_out(sources, labels, SHARES, seed=seed)
    sides = defaultdict(set)
    for source, part in zip(sources, parts, strict=True):
        sides[source].add(part)
    assert all(len(each) == 1 for each in sides.values())
    for label, total in Counter(labels).items():
        counts = Counter(part for part, own in zip(parts, labels, strict=True) if own == label)
        assert counts['train'] > 0.4 * total
        assert all(0.1 * total < counts[part] < 0.4 * total for part in SHARES)


def test_the_seed_decides():
    sources, labels = [f's{k}' for k in range(40)], ['a', 'b'] * 20
    first = hold_out(sources, labels, SHARES, seed=1)
    assert first == hold_out(sources, labels, SHARES, seed=1) != hold_out(sources, labels, SHARES, seed=2)
    # the order of the clips does not
    back = hold_out(sources[::-1], labels[::-1], SHARES, seed=1)
    assert back[::-1] == first


def test_a_large_recording_stays_in_training():
    sources = ['film'] * 50 + [f's{k}' for k in range(9)] + [f't{k}' for k in range(10)]
    labels = ['a'] * 59 + ['b'] * 10
    parts = dict(zip(sources, hold_out(sources, labels, SHARES), strict=True))
    assert parts['film'] == 'train' and {*parts.values()} == {'train', 'test', 'val'}


def test_three_recordings_are_just_enough():
    assert sorted(hold_out(['p', 'q', 'r', 'x', 'y', 'z'], ['a'] * 3 + ['b'] * 3, SHARES)) == sorted(
        ['train', 'test', 'val'] * 2
    )


def test_too_few_recordings_are_refused():
    with pytest.raises(MmavError, match=r"class 'b': its 8 clips come from 2 recordings, and 3 are needed"):
        hold_out(['p', 'q', 'r', *['x', 'y'] * 4], ['a'] * 3 + ['b'] * 8, SHARES)
    with pytest.raises(MmavError, match=r'from 1 recording, and 2 are needed, so that training, val have one each'):
        hold_out(['x', 'x'], ['a', 'a'], dict(val=0.1))


def test_recordings_that_hold_too_much_are_refused():
    """The three recordings of b are the first three of a, the first of which is taken for both parts at once."""
    sources, labels = ['p', 'q', 'r', 'p', 'q', 'r'], ['a'] * 3 + ['b'] * 3
    assert {*hold_out(sources, labels, SHARES)} == {'train', 'test', 'val'}
    chained = dict(p='ab', q='bc', r='ca', s='ab', t='c')
    sources = [name for name, own in chained.items() for _ in own]
    with pytest.raises(MmavError, match=r"class '[abc]': its recordings also hold other classes"):
        hold_out(sources, [label for own in chained.values() for label in own], SHARES)
