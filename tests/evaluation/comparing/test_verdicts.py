import numpy as np
import pytest

from mmav.evaluation.comparing import Measured, holm, judge


def row(name, accuracy, *, seeds=5, clips=1000, spread=0.0, seed=0):
    """Clips that all rows share, of which each is right where it is easy enough."""
    rng = np.random.default_rng(99)
    hard = rng.random(clips)
    own = np.random.default_rng([seed, *name.encode()])
    level = accuracy + own.normal(0, spread, (seeds, 1)) + own.normal(0, 0.05, (seeds, clips))
    return Measured(name, hard < level, range(seeds))


def told(rows, names, **options):
    return judge([(rows.get(one), rows.get(two)) for one, two in names], names, **options)


def test_holm_rejects_step_by_step():
    p_values = [0.001, 0.3, 0.012, 0.02, 0.3]
    for alpha in np.linspace(0.001, 0.9, 200):
        rejected = set()
        for left, place in zip(range(5, 0, -1), np.argsort(p_values, kind='stable'), strict=True):
            if p_values[place] > alpha / left:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(holm(p_values)) if p <= alpha} == rejected
    assert holm([]) == []


def test_comparisons_hold_are_reversed_or_cannot_be_told():
    rows = {name: row(name, accuracy) for name, accuracy in dict(low=0.5, mid=0.6, twin=0.6).items()}
    holds, reversed_, open_ = told(rows, [('mid', 'low'), ('low', 'twin'), ('mid', 'twin')])
    assert holds.verdict == 'holds' and holds.corrected <= 0.05 and holds.difference.mean > 0.05
    assert reversed_.verdict == 'reversed' and reversed_.together[1] < 0
    assert open_.verdict == 'cannot be told' and open_.corrected > 0.05
    assert 0 < open_.smallest < 0.05 and abs(open_.difference.mean) < open_.smallest
    assert open_.together[0] < open_.difference.low < open_.difference.high < open_.together[1]
    assert holds.mcnemar_all.p_value < 0.001 and len(holds.mcnemar) == 5


def test_a_difference_may_be_lost_among_many_comparisons():
    rows = {'a': row('a', 0.5, spread=0.01), 'b': row('b', 0.52, spread=0.01)}
    (alone,) = told(rows, [('b', 'a')])
    among = told({**rows, 'c': row('c', 0.5, spread=0.01)}, [('b', 'a')] + [('c', 'a')] * 8)[0]
    assert alone.verdict == 'holds' and among.p_value == alone.p_value
    assert among.verdict == 'cannot be told' and among.corrected > alone.corrected


def test_rows_are_the_same_within_a_margin_that_was_given():
    rows = {name: row(name, 0.6) for name in ('a', 'b')}
    within = told(rows, [('a', 'b')], margin=0.03)[0]
    assert within.verdict == 'the same' and within.same_p < 0.05
    low, high = within.difference.low, within.difference.high
    assert -0.03 < low < high < 0.03  # 95 % inside, so 90 % is
    narrow = told(rows, [('a', 'b')], margin=0.001)[0]
    assert narrow.verdict == 'cannot be told' and narrow.same_p > 0.05
    assert told(rows, [('a', 'b')])[0].same_p is None


@pytest.mark.parametrize(
    ('rows', 'why'),
    [
        ({'a': row('a', 0.9, seeds=1), 'b': row('b', 0.2, seeds=1)}, 'one seed'),
        ({'a': row('a', 0.9, clips=20), 'b': row('b', 0.2, clips=20)}, '20 clips are too few'),
        ({'b': row('b', 0.2)}, 'no figures of a'),
        ({'a': row('a', 0.9, clips=100), 'b': row('b', 0.2, clips=90)}, 'a has 100 clips, b 90'),
    ],
)
def test_too_little_leads_to_no_conclusion(rows, why):
    found, other = told({**rows, 'c': row('c', 0.5), 'd': row('d', 0.7)}, [('a', 'b'), ('d', 'c')])
    assert found.verdict == 'no conclusion' and why in found.why_not and found.corrected is None
    # and costs the others nothing
    assert other.corrected == other.p_value and other.verdict == 'holds'
