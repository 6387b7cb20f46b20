from dataclasses import replace

import pytest

from mmav.analysis.ablation.plan import Run, machine_of, runs_of, share_of
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.errors import ConfigError

STUDENT = Row('student', 's.py', needs=(('a', 'teacher'),))
TEACHER, PLAIN = Row('teacher', 't.py'), Row('plain', 'p.py')
AVERAGE = Row('average', 'avg', parts=('plain', 'teacher'))
ABLATION = Ablation('toys', (STUDENT, PLAIN, AVERAGE, TEACHER), seeds=(0, 1))


def test_what_is_needed_comes_first_and_seeds_in_turn():
    runs = runs_of(ABLATION, ABLATION.rows)
    assert [run.name for run in runs] == ['t_seed0', 's_seed0', 'p_seed0', 't_seed1', 's_seed1', 'p_seed1']


def test_a_row_with_seeds_of_its_own_has_runs_of_these_alone():
    ablation = replace(ABLATION, rows=(*ABLATION.rows, Row('more', 'm.py', seeds=(1, 4))))
    assert [run.name for run in runs_of(ablation, ablation.rows)][-3:] == ['p_seed1', 'm_seed1', 'm_seed4']


@pytest.mark.parametrize('parts', [1, 2, 3, 7])
def test_machines_share_all_runs_and_none_waits_for_another(parts):
    runs = runs_of(replace(ABLATION, seeds=tuple(range(5))), ABLATION.rows)
    shares = [share_of(runs, ABLATION, part, parts) for part in range(1, parts + 1)]
    assert sorted(run.name for share in shares for run in share) == sorted(run.name for run in runs)
    for share in shares:
        assert share == [run for run in runs if run in share]  # in the same order
        assert all(Run(TEACHER, run.seed) in share for run in share if run.row == STUDENT)
    if parts < 7:
        assert max(map(len, shares)) - min(map(len, shares)) <= 2


@pytest.mark.parametrize('text', ['0/2', '3/2', '1', '1/0', 'a/b', '1/2/3'])
def test_a_part_that_is_none(text):
    with pytest.raises(ConfigError, match=f'--part {text}: give 1/2'):
        machine_of(text)
