from types import SimpleNamespace

import numpy as np

from mmav.analysis.ablation.cost import DISAGREEMENT, SEED_SPREAD, Costs, smallest_seen
from mmav.analysis.ablation.plan import Run
from mmav.analysis.ablation.results import Result
from mmav.analysis.evidence.stated import EvidenceRow, Stated
from mmav.evaluation.comparing import Measured, expected_components, smallest_difference
from tests.analysis.ablation.test_results import SIGHT, SOUND

RUNS = [Run(row, seed) for seed in (0, 1) for row in (SOUND, SIGHT)]


def result(seconds, **more):
    return Result(dict(top1=0.5), '', wall_seconds=seconds, **more)


def test_what_is_left_follows_the_rows_that_have_ended():
    costs = Costs(RUNS, SimpleNamespace(found={}))
    assert costs.left() is None and costs.time_left(3.0) == ''
    costs.note(RUNS[0], result(10.0))
    assert costs.of(SOUND) == 10.0 and costs.of(SIGHT) is None
    assert costs.left() == 30.0  # an unknown row costs what the others do
    costs.note(RUNS[1], result(40.0))
    assert costs.left() == 50.0
    assert costs.time_left(25.0) == 'about 25 s left'  # two at a time
    costs.note(RUNS[2], None)
    costs.note(RUNS[3], result(1.0, killed='killed after epoch 1'))  # tells nothing
    assert costs.of(SIGHT) == 40.0 and costs.time_left(30.0) == ''


def test_earlier_runs_tell_too():
    found = {RUNS[0]: (result(8.0), None), RUNS[1]: (result(2.0, resumed=True), None)}  # of a part of its time
    costs = Costs(RUNS[1:], SimpleNamespace(found=found))
    assert costs.of(SOUND) == 8.0 and costs.of(SIGHT) is None and costs.left() == 24.0


def test_known_outcomes_tell_the_processor_time():
    found = {RUNS[0]: (result(1.0, cpu_seconds=8.0), None)}
    outcomes = {run: SimpleNamespace(cpu_seconds=seconds) for run, seconds in zip(RUNS, (9.0, 5.0, 6.0), strict=False)}
    costs = Costs(RUNS[3:], SimpleNamespace(found=found, outcomes=outcomes), 'cpu_seconds')
    assert costs.of(SOUND) == 7.0 and costs.of(SIGHT) == 5.0 == costs.left()  # a run in a folder tells its own
    assert Costs(RUNS, SimpleNamespace(found={}, outcomes=outcomes)).left() is None


def stated(*measured):
    rows = [EvidenceRow(each.name, each) for each in measured] or [EvidenceRow('one'), EvidenceRow('two')]
    return Stated('toys', rows)


def test_before_any_run_the_assumptions_are_said():
    told = smallest_seen(stated(), clips=2000, seeds=5)
    expected = expected_components(clips=2000, seeds=5, disagreement=DISAGREEMENT, seed_spread=SEED_SPREAD)
    assert f'see {100 * smallest_difference(expected):.1f} points or more in 80 % of cases' in told
    assert '5 seeds and 2,000 test clips' in told and 'disagree on 30 % of the clips' in told
    assert 'can see no difference at all' in smallest_seen(stated(), clips=5, seeds=2)
    assert '1 seed and' in smallest_seen(stated(), clips=2000, seeds=1)


def test_rows_that_have_run_replace_the_assumptions():
    rng = np.random.default_rng(0)
    one, two = (Measured(name, rng.random((3, 500)) < 0.6, (0, 1, 2)) for name in ('one', 'two'))
    few, many = (smallest_seen(stated(one, two), clips=clips, seeds=5) for clips in (500, 50_000))
    assert 'from 1 pairs of rows that have run' in few
    points = [float(text.split(' see ')[1].split()[0]) for text in (few, many)]
    assert 0 < points[1] < points[0] < 50


def test_rows_of_a_large_table_tell_of_the_spread_together():
    """As the report judges them: the spread over seeds is that of all rows."""
    rows = [EvidenceRow(str(number)) for number in range(6)]
    told = smallest_seen(Stated('toys', rows), clips=2000, seeds=5)
    size = dict(clips=2000, seeds=5, disagreement=DISAGREEMENT, seed_spread=SEED_SPREAD)
    many, two = (smallest_difference(expected_components(**size, rows=number)) for number in (6, 2))
    assert many < two and f'see {100 * many:.1f} points' in told
    rng = np.random.default_rng(0)
    known = [Measured(str(number), rng.random((3, 500)) < 0.6, (0, 1, 2)) for number in range(6)]
    points = [
        float(smallest_seen(stated(*some), clips=500, seeds=3).split(' see ')[1].split()[0])
        for some in (known, known[:5])
    ]
    assert points[0] < points[1]
