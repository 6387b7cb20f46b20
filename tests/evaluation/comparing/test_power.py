import numpy as np
import pytest

from mmav.errors import ConfigError
from mmav.evaluation.comparing import Measured, expected_components, resized, smallest_difference
from mmav.evaluation.comparing.components import components_of, difference_of
from mmav.evaluation.comparing.intervals import tails


def outcomes(*, runs, seeds, clips, gain, seed_spread, rng):
    """Differences of two rows (runs, seeds, clips): on a fifth of the clips they differ, on half of those always."""
    kind = rng.random((runs, 1, clips))
    sign = np.where(rng.random((runs, 1, clips)) < 0.5 + gain / 0.4, 1, -1)
    anew = np.where(rng.random((runs, seeds, clips)) < 0.5 + gain / 0.4, 1, -1)
    base = np.where(kind < 0.1, sign, np.where(kind < 0.2, anew, 0)).astype(float)
    return base + rng.normal(0, 2**0.5 * seed_spread, (runs, seeds, 1))


@pytest.mark.parametrize(('seeds', 'comparisons'), [(3, 1), (5, 1), (5, 8)])
def test_four_of_five_runs_see_the_smallest_difference(seeds, comparisons):
    clips, runs = 400, 300
    expected = expected_components(clips=clips, seeds=seeds, disagreement=0.2, seed_spread=0.01)
    gain = smallest_difference(expected, comparisons=comparisons)
    rng = np.random.default_rng(seeds)
    drawn = outcomes(runs=runs, seeds=seeds, clips=clips, gain=gain, seed_spread=0.01, rng=rng)
    found = [components_of(Measured('row', each, range(seeds))) for each in drawn]
    parts = (np.array([getattr(each, name) for each in found]) for name in ('seeds', 'clips', 'residual'))
    p_values = tails(abs(np.array([each.mean for each in found])), *parts, seeds - 1, clips - 1)
    assert 0.72 < (p_values < 0.05 / comparisons).mean() < 0.88


def test_more_clips_seeds_and_fewer_comparisons_see_less():
    usual = dict(clips=500, seeds=5, disagreement=0.2, seed_spread=0.01)

    def smallest(comparisons=1, **changed):
        return smallest_difference(expected_components(**{**usual, **changed}), comparisons=comparisons)

    whole = smallest()
    assert smallest(clips=2000) < whole < smallest(clips=100)
    assert smallest(seeds=10) < whole < smallest(seeds=3) < smallest(seeds=2)
    assert smallest(seed_spread=0.0) < whole < smallest(seed_spread=0.03)
    assert whole < smallest(comparisons=5)
    # of one seed it is the textbook's: (1.96 + 0.84) standard errors
    assert smallest(seeds=1) == pytest.approx(2.8 * (0.2 / 500) ** 0.5, rel=0.02)


def test_a_pilot_says_what_a_larger_run_will_have():
    rng = np.random.default_rng(0)
    pilot = difference_of(
        *(
            Measured(name, (rng.random((4, 1, 1)) * 0.1 + rng.random((4, 1, 300)) > 0.5)[:, 0], range(4))
            for name in 'ab'
        )
    )
    assert resized(pilot, clips=300, seeds=4).variance == pytest.approx(pilot.variance)
    larger = resized(pilot, clips=3000, seeds=8)
    assert larger.num_seeds == 8 and larger.residual == pytest.approx(pilot.residual / 20)
    assert larger.seeds - larger.residual == pytest.approx(max(pilot.seeds - pilot.residual, 0) / 2)


@pytest.mark.parametrize(
    ('changed', 'told'),
    [
        (dict(clips=1), 'clips=1: give a number from 2'),
        (dict(disagreement=1.5), 'disagreement=1.5: give a number from 0 to 1'),
        (dict(repeated=-1), 'repeated=-1: give a number from 0 to 1'),
    ],
)
def test_numbers_out_of_range_are_refused(changed, told):
    with pytest.raises(ConfigError, match=told):
        expected_components(**{**dict(clips=500, seeds=5, disagreement=0.2, seed_spread=0.01), **changed})


def test_a_pilot_of_one_seed_cannot_say_what_seeds_do():
    pilot = components_of(Measured('row', np.eye(1, 20), [0]))
    with pytest.raises(ConfigError, match='a pilot of one seed'):
        resized(pilot, clips=100, seeds=3)
    assert resized(pilot, clips=40, seeds=1).clips == pytest.approx(pilot.clips / 2)
