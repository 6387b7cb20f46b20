"""The ablation's command on a few clips: it runs, is not repeated, writes its page, and does not mix options."""

import json

from mmav.analysis.pages import END, START
from mmav.preparation.avsynth import generate
from tests.toys import run_tool, tool_environment

TOOL = 'analysis_tools/run_ablation.py'


def test_runs_once_and_fills_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', tool_environment()['PYTHONPATH'])  # of the processes that the tool starts
    # 16 batches an epoch: a tenth of them, the warm-up, has to be one at least
    generate(tmp_path / 'data', train=32, val=16, test=16, jobs=1, progress=False)
    page = tmp_path / 'page.md'
    marks = dict(name='ablation', tool=f'tools/{TOOL}')
    page.write_text(f'before\n{START.format(**marks)}\n{END.format(**marks)}\nafter\n')
    work_dir = tmp_path / 'w'
    common = ['--data-root', tmp_path / 'data', '--work-dir', work_dir, '--page', page, '--seeds', 0, '--batch-size', 2]
    arguments = [*common, '--only', 'mat_tiny', '--epochs', 1]
    assert run_tool(TOOL, *arguments) == 0
    assert '1 runs, 0 of them done' in capsys.readouterr().out
    result = work_dir / 'mat_tiny_avsynth_seed0' / 'result.json'
    figures = json.loads(result.read_text())
    assert set(figures) == {'top1', 'top5', 'ari', 'homogeneity'} and 0 <= figures['top1'] <= 1
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert f'| audio only, MAT | `configs/mat/mat_tiny_avsynth.py` | {figures["top1"]:.3f} |' in text
    assert '| + AVC | `configs/mmt/mmt_tiny_avc_avsynth.py` | not yet run |' in text
    assert (tmp_path / 'ablation.png').read_bytes().startswith(b'\x89PNG')

    written = result.stat().st_mtime_ns
    assert run_tool(TOOL, *arguments) == 0
    assert '1 runs, 1 of them done' in capsys.readouterr().out
    assert result.stat().st_mtime_ns == written and page.read_text() == text

    # the average of two models appears once both are there: here the one stands in for the other
    other = work_dir / 'mvitv2_tiny_avsynth_seed0'
    other.mkdir()
    (other / 'predictions.pkl').write_bytes((result.parent / 'predictions.pkl').read_bytes())
    assert run_tool(TOOL, *common, '--only', 'avg_apart', '--epochs', 1) == 0
    assert f'| Avg, trained apart | the two above | {figures["top1"]:.3f} |' in page.read_text()

    assert run_tool(TOOL, *arguments[:-1], 2) == 2
    assert 'holds runs of other options' in capsys.readouterr().err


def test_no_such_row(tmp_path, capsys):
    assert run_tool(TOOL, '--only', 'typo', '--work-dir', tmp_path) == 2
    assert capsys.readouterr().err == "error: --only typo: no row's config has this in its name\n"


def test_a_page_without_its_block_is_found_before_the_runs(tmp_path, capsys):
    assert run_tool(TOOL, '--page', tmp_path / 'none.md', '--work-dir', tmp_path / 'w') == 2
    assert "none.md': give a Markdown file that has the block 'ablation'" in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()
