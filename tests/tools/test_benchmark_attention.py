import json

from mmav.models.ops.attention import explicit_attention
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_attention.py'
CONFIG = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth.py'


def test_fills_its_block_of_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.attention.matmul_peak', lambda *_: 1e12)
    block = '<!-- attention, mat_tiny_avsynth, threads: 1: {} -->'
    page = tmp_path / 'page.md'
    page.write_text(f'before\n{block.format(f"start, written by tools/{TOOL}")}\n{block.format("end")}\nafter\n')
    options = ['--device', 'cpu', '--threads', 1, '--rounds', 1, '--page', page, '--json', tmp_path / 'a.json']
    assert run_tool(TOOL, CONFIG, *options) == 0
    text = page.read_text()
    assert text.startswith('before') and text.endswith('after\n')
    assert '| audio | 1 | 16x24 | 8x12 | 1 x 32 |' in text and '| audio, all | 4 |' in text
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['threads'] == 1 and found['peak'] == 1e12 and found['versions']['torch']
    assert {*found['results'][0]['forms']} == {'explicit', 'folded', 'tiled'}
    assert capsys.readouterr().out.startswith('attention, mat_tiny_avsynth, threads: 1: 1 threads of the CPU, median')


def test_kernels_of_a_gpu_that_is_not_there(tmp_path, capsys):
    name = 'kernels of attention, mat_tiny_avsynth, bfloat16, capability: 8.0'
    page, out = tmp_path / 'page.md', tmp_path / 'a.json'
    page.write_text(f'<!-- {name}: start, written by tools/{TOOL} -->\n<!-- {name}: end -->\n')
    assert run_tool(TOOL, CONFIG, '--capability', '8.0', '--dtype', 'bfloat16', '--page', page, '--json', out) == 0
    assert '| audio | 1 | 16x24 | 8x12 | 1 x 32 | 56 | 56 | flash | flash |' in page.read_text()
    printed = capsys.readouterr().out
    assert printed.startswith(f'{name}: by the rules of PyTorch 2.14, in bfloat16') and '16x24' in printed
    found = json.loads(out.read_text())
    assert found['results'][0]['backward'] == [56, 56, 'flash'] and found['versions']['torch']


def test_a_mistake_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.attention.matmul_peak', lambda *_: 1e12)
    for config, wrong, message in (
        (CONFIG, ['--rounds', 0], '--rounds 0: give 1 or more'),
        (CONFIG, ['--dtype', 'bfloat16', '--forms', 'tiled'], '--forms tiled: with cpu and bfloat16'),
        (CONFIG, ['--page', tmp_path / 'no.md'], 'no page'),
        (ROOT / 'configs' / 'ast' / 'ast_tiny_avsynth.py', [], 'no backbone has multiscale attention (audio: AST)'),
        (tmp_path / 'no.py', [], 'no.py'),
        (CONFIG, ['--capability', '8.0'], '--device has no effect with --capability, which times nothing: leave it'),
        (CONFIG, ['--capability', '80'], '--capability 80: give it as NVIDIA writes it, 8.0 for an A100'),
    ):
        assert run_tool(TOOL, config, '--device', 'cpu', *wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: ') and message in error and error.count('\n') == 1


def test_a_difference_is_told_and_the_timing_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.attention.matmul_peak', lambda *_: 1e12)
    monkeypatch.setattr('mmav.models.ops.attention.folded_attention', lambda *args: 1.1 * explicit_attention(*args))
    out = tmp_path / 'a.json'
    assert run_tool(TOOL, CONFIG, '--device', 'cpu', '--rounds', 1, '--json', out) == 1
    printed = capsys.readouterr()
    assert 'difference: folded attention is off by' in printed.err and '(!)' in printed.out
    forms = json.loads(out.read_text())['results'][0]['forms']
    assert 'off by' in forms['folded']['disagreement'] and forms['folded']['forward']['seconds']
