import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from mmav import checkpoints as checkpoint_io
from mmav.engine.hooks.checkpoint import CheckpointHook
from mmav.errors import ConfigError
from mmav.outputs import RECORD
from tests import toys


@pytest.fixture
def at_each_write(monkeypatch):
    """Collects which whole checkpoints stand beside a file at the moment before it is put in place."""
    moments = []
    replace = os.replace

    def spy(source: str, target: Path) -> None:
        if Path(target).suffix == '.pth':
            moments.append((Path(target).name, sorted(path.name for path in Path(target).parent.glob('*.pth'))))
        replace(source, target)

    monkeypatch.setattr(checkpoint_io.os, 'replace', spy)
    return moments


def test_the_old_one_goes_only_after_the_new_one_is_whole(tmp_path, at_each_write):
    config = toys.write_config(tmp_path, 'default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))\n')
    assert (
        toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=3') == 0
    )
    assert at_each_write == [
        ('epoch_1.pth', []),
        ('epoch_2.pth', ['epoch_1.pth']),
        ('epoch_3.pth', ['epoch_2.pth']),
    ]
    assert [path.name for path in (tmp_path / 'w').glob('*.pth')] == ['epoch_3.pth']
    assert (tmp_path / 'w' / 'last_checkpoint').read_text() == str(tmp_path / 'w' / 'epoch_3.pth')


def test_best_is_replaced_only_after_the_new_best_is_whole(tmp_path, at_each_write):
    extra = "default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best='top1', rule='greater'))\n"
    config = toys.write_config(tmp_path, extra)
    work_dir = tmp_path / 'w'
    assert toys.run_tool('train.py', config, '--work-dir', work_dir) == 0
    bests = [(name, beside) for name, beside in at_each_write if name.startswith('best')]
    assert len(bests) > 1, 'the toy has to improve more than once for this test to mean something'
    for (previous, _), (_, beside) in pairwise(bests):
        assert previous in beside
    left = sorted(path.name for path in work_dir.glob('*.pth'))
    assert left == [bests[-1][0], 'epoch_4.pth']
    info = torch.load(work_dir / 'epoch_4.pth', weights_only=True)['message_hub']['runtime_info']
    assert Path(info['best_ckpt']).name == bests[-1][0]


def test_what_a_killed_run_left_is_removed(tmp_path):
    config = toys.write_config(tmp_path)
    work_dir = tmp_path / 'w'
    work_dir.mkdir()
    (work_dir / '.epoch_9.pth.1.tmp').write_bytes(b'half')
    assert toys.run_tool('train.py', config, '--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=1') == 0
    assert [path.name for path in work_dir.glob('.*')] == [RECORD]


@pytest.mark.parametrize(('options', 'best'), [({}, 2), (dict(latest_of_equal=True), 3)])
def test_the_latest_of_equal_checkpoints_is_the_best_where_asked(options, best, tmp_path, monkeypatch):
    scores = iter([0.5, 0.75, 0.75, 0.25])
    monkeypatch.setattr('mmav.evaluation.Accuracy.compute_metrics', lambda *_: dict(top1=next(scores)))
    hook = dict(max_keep_ckpts=1, save_best='top1', rule='greater', **options)
    config = toys.write_config(tmp_path, f'default_hooks = dict(checkpoint={hook!r})\n')
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w') == 0
    assert sorted(path.name for path in (tmp_path / 'w').glob('best*.pth')) == [f'best_top1_epoch_{best}.pth']


def test_latest_of_equal_needs_a_best():
    with pytest.raises(ConfigError, match=r'latest_of_equal=True has no effect without save_best: leave it out'):
        CheckpointHook(latest_of_equal=True)
