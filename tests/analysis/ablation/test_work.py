import pytest

from mmav.analysis.ablation.killing import KillRule
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
