"""The ablation's command on toys: runs once, goes on, fills its page, equals the tools, and names what is wrong."""

import json
import shutil

import pytest
import torch

from mmav.analysis.pages import END, START
from mmav.evaluation.predictions import load_predictions
from tests.toys import run_tool, write_config

TOOL = 'analysis_tools/run_ablation.py'
FILE = """Dataset: toys
Seeds: [0, 1]
Epochs: 2
Rows:
  - {Row: plain, Config: toy.py}
  - {Row: wide, Config: toy.py, Name: fast, Options: {optim_wrapper.optimizer.lr: 0.1}}
  - {Row: both, Name: average, Parts: [plain, wide]}
Comparisons:
  - {Better: both, Than: plain, Source: nobody}
"""


@pytest.fixture
def toys(tmp_path):
    write_config(tmp_path)
    (tmp_path / 'toys.yml').write_text(FILE)
    return tmp_path / 'toys.yml'


def test_runs_once_and_fills_the_page(toys, tmp_path, capsys):
    page = tmp_path / 'page.md'
    marks = dict(name='ablation', tool=f'tools/{TOOL}')
    page.write_text(f'before\n{START.format(**marks)}\n{END.format(**marks)}\nafter\n')
    work_dir = tmp_path / 'w'
    arguments = [toys, '--work-dir', work_dir, '--page', page, '--jobs', 2]
    assert run_tool(TOOL, *arguments) == 0
    out = capsys.readouterr().out
    assert '4 runs, 0 of them done' in out and 'plain, seed 1: top1 ' in out
    file = work_dir / 'toy_seed0' / 'result.json'
    result = json.loads(file.read_text())
    assert {'top1', 'top2'} <= set(result['figures']) and result['cpu_seconds'] > 0
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    first, second = (json.loads((work_dir / f'toy_seed{seed}/result.json').read_text()) for seed in (0, 1))
    reached = [f'{100 * each["figures"]["top1"]:.1f}' for each in (first, second)]
    assert f'| plain | {" | ".join(reached)} |' in text and '| both > plain |' in text
    assert 'not yet run' not in text
    assert (tmp_path / 'ablation.png').read_bytes().startswith(b'\x89PNG')

    written = file.stat().st_mtime_ns
    assert run_tool(TOOL, *arguments) == 0
    assert '4 runs, 4 of them done' in capsys.readouterr().out
    assert file.stat().st_mtime_ns == written and page.read_text() == text

    assert run_tool(TOOL, *arguments, '--epochs', 3) == 2
    assert 'holds runs of other options' in capsys.readouterr().err

    # merged from what two machines did: one has the first row, the other the second
    for name, row in (('one', 'toy'), ('two', 'fast')):
        for seed in (0, 1):
            shutil.copytree(work_dir / f'{row}_seed{seed}', tmp_path / name / f'{row}_seed{seed}')
    merged = ['--results', tmp_path / 'one', tmp_path / 'two', '--work-dir', tmp_path / 'merged']
    assert run_tool(TOOL, toys, *merged) == 0
    capsys.readouterr()
    assert (tmp_path / 'merged/report.json').read_bytes() == (work_dir / 'report.json').read_bytes()


def test_a_run_equals_the_tools(toys, tmp_path):
    assert run_tool(TOOL, tmp_path / 'toy.py', '--seeds', 3, '--work-dir', tmp_path / 'w') == 0
    options = ['--cfg-options', 'randomness.seed=3']
    config, alone = tmp_path / 'toy.py', tmp_path / 'alone'
    assert run_tool('train.py', config, '--work-dir', alone, *options) == 0
    dump = tmp_path / 'alone.pkl'
    checkpoint = alone / 'epoch_4.pth'
    assert run_tool('test.py', config, checkpoint, '--work-dir', alone / 't', '--dump', dump, *options) == 0
    forked, tools = (torch.load(path / 'epoch_4.pth')['state_dict'] for path in (tmp_path / 'w/toy_seed3', alone))
    assert all(torch.equal(forked[name], tools[name]) for name in tools)
    rows, others = (load_predictions(path)[0] for path in (tmp_path / 'w/toy_seed3/predictions.pkl', dump))
    for row, other in zip(rows, others, strict=True):
        assert row['path'] == other['path'] and (row['scores']['label'] == other['scores']['label']).all()


def test_a_run_that_was_stopped_goes_on(tmp_path, capsys):
    """As if it had not been: a signal ends it in its second epoch of three batches, after the position was saved."""
    write_config(tmp_path).rename(tmp_path / 'whole.py')
    hook = "custom_hooks = [dict(type='SignalHook', number=15, after_iter=5)]\n"
    write_config(tmp_path, hook).rename(tmp_path / 'stopped.py')
    arguments = [tmp_path / 'whole.py', tmp_path / 'stopped.py', '--seeds', 0, '--work-dir', tmp_path / 'w']
    assert run_tool(TOOL, *arguments) == 2
    assert '1 runs have failed, the command can be given again: stopped_seed0: ' in capsys.readouterr().err
    assert 'failed: stopped by SIGTERM' in (tmp_path / 'w/report.md').read_text()
    assert run_tool(TOOL, *arguments) == 0
    assert '2 runs, 1 of them done' in capsys.readouterr().out
    whole, stopped = (
        torch.load(tmp_path / f'w/{name}_seed0/epoch_4.pth')['state_dict'] for name in ('whole', 'stopped')
    )
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert json.loads((tmp_path / 'w/stopped_seed0/result.json').read_text())['resumed']


def test_a_dry_run_says_what_it_would_cost_and_show(toys, tmp_path, capsys):
    assert run_tool(TOOL, toys, '--work-dir', tmp_path / 'w', '--dry-run', '--part', '1/2') == 0
    out = capsys.readouterr().out
    assert 'toy_seed0: to run' in out and '2 of 2 runs to do: no run has ended yet to tell the cost' in out
    assert '2 seeds and 12 test clips can see no difference at all' in out
    assert not (tmp_path / 'w').exists()


def test_no_such_row(tmp_path, capsys):
    assert run_tool(TOOL, '--only', 'typo', '--work-dir', tmp_path) == 2
    assert capsys.readouterr().err == "error: --only typo: no row's config has this in its name\n"


def test_a_page_without_its_block_is_found_before_the_runs(tmp_path, capsys):
    assert run_tool(TOOL, '--page', tmp_path / 'none.md', '--work-dir', tmp_path / 'w') == 2
    assert "none.md': give a Markdown file that has the block 'ablation'" in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()
