import numpy as np
import pytest

from mmav.analysis.ablation.killing import KillRule
from mmav.analysis.ablation.outcomes import Outcome, Outcomes
from mmav.analysis.ablation.rows import Ablation, Row
from mmav.analysis.ablation.work import Choices, Work
from mmav.errors import ConfigError, MmavError
from tests.toys import write_config


def toys(tmp_path, rows=('a', 'b'), **choices):
    config = write_config(tmp_path)
    rows = [Row(name, f'{name}.py', file=config) for name in rows]
    return Work(Ablation('toys', tuple(rows), seeds=(0, 1)), rows, Choices(tmp_path / 'w', **choices))


def test_what_is_to_do(tmp_path):
    assert [run.name for run in toys(tmp_path).todo()] == ['a_seed0', 'b_seed0', 'a_seed1', 'b_seed1']
    shares = [toys(tmp_path, part=(part, 2)).todo() for part in (1, 2)]
    assert sorted(run.name for share in shares for run in share) == ['a_seed0', 'a_seed1', 'b_seed0', 'b_seed1']


def test_a_folder_of_other_options_is_refused(tmp_path):
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / 'options.txt').write_text('model.width=4\n')
    toys(tmp_path, options=['model.width=4']).check_folder()
    with pytest.raises(MmavError, match=r"w' holds runs of other options \(.*options.txt\): give another folder"):
        toys(tmp_path).check_folder()


def test_known_runs_are_not_done_again_unless_others_need_them(tmp_path):
    config = write_config(tmp_path)
    plain, other = (Row(name, f'{name}.py', file=config) for name in ('plain', 'other'))
    taught = Row('taught', 'taught.py', needs=(('load_from', 'plain'),), file=config)
    mean = Row('mean', 'mean', parts=('plain', 'other'))
    ablation = Ablation('toys', (plain, other, taught, mean), seeds=(0, 1))

    def behind(title, seed):
        return (('plain', seed), ('other', seed)) if title == 'mean' else ()

    def todo(*runs):
        whole = Work(ablation, ablation.rows, Choices(tmp_path / 'w'))
        digests = {row.title: whole.digests.get(row, '') for row in ablation.rows}
        outcomes = {
            (title, seed): Outcome(np.ones(8, bool), digests[title], dict(top1=1.0), parts=behind(title, seed))
            for title, seed in runs
        }
        known = Outcomes('top1', '', 8, {row.title: row.config for row in ablation.rows}, outcomes)
        return [run.name for run in Work(ablation, ablation.rows, Choices(tmp_path / 'w', known=known)).todo()]

    every = [(title, seed) for title in ('plain', 'other', 'taught', 'mean') for seed in (0, 1)]
    assert todo(*every) == []
    # an average is made of predictions, and a checkpoint is no outcome
    assert todo(*(run for run in every if run != ('mean', 1))) == ['plain_seed1', 'other_seed1']
    assert todo(*(run for run in every if run != ('taught', 0))) == ['plain_seed0', 'taught_seed0']
    assert todo(*(run for run in every if run != ('other', 0))) == ['other_seed0']


@pytest.mark.parametrize(
    ('choices', 'message'),
    [
        (dict(jobs=0), '--jobs 0: give at least 1'),
        (dict(launcher='tools/dist_train.sh'), 'give a command with the word CONFIG once'),
        (dict(launcher='x CONFIG', rules=[KillRule.read('top1<1@1')]), '--kill top1<1@1 has no effect with --gpus'),
        (dict(rules=[KillRule.read('top1<1@1')]), "row 'a' validates on its test list"),
        (dict(rules=[KillRule.read('top1<1@9')]), "row 'a' trains 4 epochs"),
        (dict(options=['model.widht=4']), "row 'a': .*widht"),
    ],
)
def test_choices_that_are_refused(tmp_path, choices, message):
    with pytest.raises(ConfigError, match=message):
        toys(tmp_path, **choices)
