"""The tool on a real training of toys that was stopped and resumed; TensorBoard's file of the same training."""

import json

import pytest

from tests import toys

TOOL = 'analysis_tools/analyze_logs.py'
BOARD = """
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
"""


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('logs')
    config = toys.write_config(folder, 'default_hooks = dict(logger=dict(interval=1))\n')
    train = ['train.py', config, '--work-dir', folder / 'w', '--resume']
    assert toys.run_tool(*train) == 0
    # a kill in epoch 3, and another start under another name, though in the same second
    (first,) = (folder / 'w').glob('*/vis_data')
    first.parent.rename(folder / 'w' / '20000101_000000')
    for name in ('epoch_3.pth', 'epoch_4.pth', 'last_checkpoint'):
        (folder / 'w' / name).unlink()
    assert toys.run_tool(*train) == 0
    return folder / 'w'


def test_a_resumed_run_counts_once(work_dir, tmp_path, capsys):
    outputs = ['--out', tmp_path / 'c.png', '--json', tmp_path / 'c.json']
    assert toys.run_tool(TOOL, work_dir, *outputs) == 0
    output = capsys.readouterr().out
    assert '| epochs                    | 4' in output and 'best top1' in output and 'clips/s' in output
    (run,) = json.loads((tmp_path / 'c.json').read_text())['runs']
    assert run['iterations'] == 12 and run['clips_per_s'] > 0 and 0 < run['data_share'] < 1
    assert (tmp_path / 'c.png').stat().st_size > 10_000


def test_mistakes_are_one_line(work_dir, tmp_path, capsys):
    for arguments, message in (
        ([tmp_path / 'nothing'], 'error: no log'),
        ([work_dir, '--keys', 'top9'], 'error: --keys top9: was not logged'),
    ):
        assert toys.run_tool(TOOL, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(message)


def test_tensorboard_by_a_line_in_the_config(tmp_path):
    config = toys.write_config(tmp_path, BOARD + 'default_hooks = dict(logger=dict(interval=1))\n')
    command = ['train.py', config, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_epochs=1']
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert toys.run_tool(*command) == 0
    (events,) = (tmp_path / 'w').glob('*/vis_data/events.out.tfevents.*')
    board = EventAccumulator(str(events.parent))
    board.Reload()
    for key in ('loss', 'lr', 'clips_per_s'):
        assert [event.step for event in board.Scalars(key)] == [1, 2, 3]
