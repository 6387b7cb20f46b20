"""The ablation's command on toys: runs once, goes on, fills its page, equals the tools, and names what is wrong."""

import json
import runpy
import shutil

import pytest
import torch

from mmav.analysis.pages import END, START
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions
from tests.toys import ROOT, run_tool, write_config

TOOL = 'analysis_tools/run_ablation.py'
FILE = """Dataset: toys
Seeds: [3]
Epochs: 2
Rows:
  - {Row: plain, Config: toy.py}
  - {Row: wide, Config: toy.py, Name: fast, Options: {optim_wrapper.optimizer.lr: 0.1}}
  - {Row: both, Name: average, Parts: [plain, wide]}
Comparisons:
  - {Better: both, Than: plain, Source: nobody}
"""


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    """A folder with the file of an ablation, a page for it, and its two runs in ``w``."""
    folder = tmp_path_factory.mktemp('toys')
    write_config(folder)
    (folder / 'toys.yml').write_text(FILE)
    marks = dict(name='ablation', tool=f'tools/{TOOL}')
    (folder / 'page.md').write_text(f'before\n{START.format(**marks)}\n{END.format(**marks)}\nafter\n')
    arguments = [folder / 'toys.yml', '--work-dir', folder / 'w', '--page', folder / 'page.md', '--jobs', 2]
    assert run_tool(TOOL, *arguments) == 0
    return folder


def test_it_writes_results_and_fills_the_page(toys):
    result = json.loads((toys / 'w/toy_seed3/result.json').read_text())
    assert {'top1', 'top2'} <= set(result['figures']) and result['cpu_seconds'] > 0
    text = (toys / 'page.md').read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert f'| plain | {100 * result["figures"]["top1"]:.1f} |' in text and '| both > plain |' in text
    assert 'not yet run' not in text
    assert (toys / 'ablation.png').read_bytes().startswith(b'\x89PNG')


def test_a_run_equals_the_tools(toys, tmp_path):
    own = toys / 'w/toy_seed3'
    options = ['--cfg-options', *json.loads((own / 'result.json').read_text())['options']]
    assert run_tool('train.py', toys / 'toy.py', '--work-dir', tmp_path, *options) == 0
    dump, checkpoint = tmp_path / 'alone.pkl', tmp_path / 'epoch_2.pth'
    assert run_tool('test.py', toys / 'toy.py', checkpoint, '--work-dir', tmp_path / 't', '--dump', dump, *options) == 0
    forked, tools = (torch.load(path / 'epoch_2.pth')['state_dict'] for path in (own, tmp_path))
    assert all(torch.equal(forked[name], tools[name]) for name in tools)
    for row, other in zip(*(load_predictions(path)[0] for path in (own / 'predictions.pkl', dump)), strict=True):
        assert row['path'] == other['path'] and (row['scores']['label'] == other['scores']['label']).all()


def test_what_is_done_is_not_repeated(toys, capsys):
    file = toys / 'w/toy_seed3/result.json'
    written, report = file.stat().st_mtime_ns, (toys / 'w/report.json').read_bytes()
    assert run_tool(TOOL, toys / 'toys.yml', '--work-dir', toys / 'w') == 0
    assert '2 runs, 2 of them done' in capsys.readouterr().out
    assert file.stat().st_mtime_ns == written and (toys / 'w/report.json').read_bytes() == report
    assert run_tool(TOOL, toys / 'toys.yml', '--work-dir', toys / 'w', '--epochs', 3) == 2
    assert 'holds runs of other options' in capsys.readouterr().err


def test_what_two_machines_did_is_merged(toys, tmp_path):
    """One has the first row, the other the second."""
    for row in ('toy', 'fast'):
        shutil.copytree(toys / f'w/{row}_seed3', tmp_path / f'on_{row}' / f'{row}_seed3')
    merged = ['--results', tmp_path / 'on_toy', tmp_path / 'on_fast', '--work-dir', tmp_path / 'merged']
    assert run_tool(TOOL, toys / 'toys.yml', *merged) == 0
    assert (tmp_path / 'merged/report.json').read_bytes() == (toys / 'w/report.json').read_bytes()


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
    assert run_tool(TOOL, toys / 'toys.yml', '--work-dir', tmp_path / 'w', '--dry-run', '--part', '1/2') == 0
    out = capsys.readouterr().out
    assert 'toy_seed3: to run' in out and '1 of 1 runs to do: no run has ended yet to tell the cost' in out
    assert '1 seed and 12 test clips see ' in out
    assert not (tmp_path / 'w').exists()


def test_no_such_row(tmp_path, capsys):
    assert run_tool(TOOL, '--only', 'typo', '--work-dir', tmp_path) == 2
    assert capsys.readouterr().err == "error: --only typo: no row's config has this in its name\n"


def test_a_page_without_its_block_is_found_before_the_runs(tmp_path, capsys):
    assert run_tool(TOOL, '--page', tmp_path / 'none.md', '--work-dir', tmp_path / 'w') == 2
    assert "none.md': give a Markdown file that has the block 'ablation'" in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()


def test_what_has_no_effect_where_nothing_runs(tmp_path, capsys):
    assert run_tool(TOOL, '--results', tmp_path, '--part', '1/2', '--work-dir', tmp_path / 'w') == 2
    assert '--part has no effect with --results, which runs nothing' in capsys.readouterr().err


def test_a_dry_run_of_an_average_or_without_data(toys, tmp_path, capsys):
    more = ['--work-dir', tmp_path / 'w', '--dry-run']
    assert run_tool(TOOL, toys / 'toys.yml', '--only', 'average', *more) == 0
    assert '2 of 2 runs to do' in capsys.readouterr().out  # of what it averages
    assert run_tool(TOOL, 'mmt/mmt_tiny_avsynth.py', '--data-root', tmp_path / 'none', *more) == 0
    assert 'what the runs can show is not known' in capsys.readouterr().out


def test_the_ablation_of_the_page_needs_a_checkout(tmp_path, monkeypatch):
    (tmp_path / 'tools' / 'analysis_tools').mkdir(parents=True)
    copy = shutil.copy(ROOT / 'tools' / TOOL, tmp_path / 'tools' / 'analysis_tools')  # as a wheel has it
    monkeypatch.setattr('sys.argv', ['run_ablation.py'])
    with pytest.raises(MmavError, match='give the file of an ablation, or configs'):
        runpy.run_path(str(copy))['main']()
