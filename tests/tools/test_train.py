"""The tools of training and testing as a user calls them, on toys; with real clips: tests/test_end_to_end.py."""

import json
import re
from pathlib import Path

import pytest
import torch

from mmav.evaluation.predictions import accuracy_of, load_predictions
from tests import toys


@pytest.fixture
def config(tmp_path):
    return toys.write_config(tmp_path)


TOOLS = [str(path.relative_to(toys.ROOT / 'tools')) for path in sorted((toys.ROOT / 'tools').rglob('*.py'))]
TOOLS.remove('setup_env.py')  # runs before mmav is installed, and has its own test


@pytest.mark.parametrize('tool', TOOLS)
def test_help_has_an_example(tool, capsys):
    assert toys.run_tool(tool, '--help') == 0
    text = capsys.readouterr().out
    assert 'example' in text and f'tools/{tool}' in text


def test_train_then_test(tmp_path, config):
    assert toys.run_tool('train.py', config, '--work-dir', tmp_path / 'w', '--amp', '--auto-scale-lr') == 0
    checkpoint = tmp_path / 'w' / 'epoch_4.pth'
    outputs = ['--out', tmp_path / 'm.json', '--dump', tmp_path / 'p.pkl', '--work-dir', tmp_path / 't']
    options = ['--cfg-options', 'test_dataloader.dataset.broken=[3,5]']
    assert toys.run_tool('test.py', config, checkpoint, *outputs, *options) == 0
    metrics = json.loads((tmp_path / 'm.json').read_text())
    assert metrics['broken'] == 2 and metrics['checkpoint'] == str(checkpoint)
    rows, classes = load_predictions(tmp_path / 'p.pkl')
    assert classes == dict(label=['a', 'b', 'c']) and [row['sample_idx'] for row in rows] == list(range(12))
    assert accuracy_of(rows, topk=(1, 2)) == {'top1': metrics['top1'], 'top2': metrics['top2']}
    # lr for batch 8, batch 4: halved
    lrs = torch.load(checkpoint, weights_only=True)['message_hub']['log_scalars']['train/lr']['values']
    assert lrs[0] == pytest.approx(0.025, rel=0.1)


MISTAKES = dict(
    no_config=('train.py nowhere.py', 'no config file'),
    typo=('train.py toy.py --cfg-options model.widht=3', r"model\.widht: unknown, .* did you mean 'width'\?"),
    unknown_name=('train.py toy.py --cfg-options modle.width=3', "the config has no 'modle', did you mean 'model'"),
    resume_what=('train.py toy.py --resume nowhere.pth', r'no checkpoint .*nowhere\.pth'),
    resume_torn=('train.py toy.py --resume torn.pth', r'torn\.pth.* is damaged'),
    no_batch_size=('train.py toy.py --auto-scale-lr --cfg-options auto_scale_lr=None', 'base_batch_size'),
    in_the_data=('train.py toy.py --cfg-options train_dataloader.dataset.fail_at=3', 'clip 3 is a mistake'),
    in_a_worker=(
        'train.py toy.py --cfg-options train_dataloader.dataset.fail_at=3 train_dataloader.num_workers=1',
        'clip 3 is a mistake',
    ),
    no_checkpoint=('test.py toy.py nowhere.pth', r'no checkpoint .*nowhere\.pth'),
    torn=('test.py toy.py torn.pth', r'torn\.pth.* is damaged'),
    other_architecture=(
        'test.py toy.py other.pth',
        r'1 of another shape \(fc\.weight \(3, 5\) for \(3, 4\)\); give the config that',
    ),
    no_test_set=(
        'test.py toy.py other.pth --cfg-options test_dataloader=None test_cfg=None test_evaluator=None',
        'has no test_dataloader',
    ),
)


@pytest.mark.parametrize(('command', 'message'), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_and_status_2(command, message, tmp_path, config, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=toys.ToyModel(width=5).state_dict()), 'other.pth')
    Path('torn.pth').write_bytes(b'PK\3\4 and no more')
    assert toys.run_tool(*command.split()) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
    assert len(errors) == 1 and re.search(message, errors[0])


def test_a_bad_override_shows_the_usage(config, capsys):
    assert toys.run_tool('train.py', config, '--cfg-options', 'model.width') == 2
    assert "'model.width' is not of the form K=V" in capsys.readouterr().err
