import json

from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_model.py'
CONFIG = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth.py'


def test_fills_its_block_of_a_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.model.matmul_peak', lambda *_: 1e12)
    block = '<!-- mat_tiny_avsynth, part: audio, threads: 1: {} -->'
    page = tmp_path / 'page.md'
    start = block.format(f'start, written by tools/{TOOL}')
    page.write_text(f'before\n{start}\n{block.format("end")}\nafter\n')
    options = ['--device', 'cpu', '--part', 'audio', '--threads', 1, '--rounds', 1, '--modes', 'forward', 'step']
    assert run_tool(TOOL, CONFIG, *options, '--page', page, '--json', tmp_path / 'a.json') == 0
    text = page.read_text()
    assert text.startswith('before') and text.endswith('after\n') and '| step | float32 | 1 |' in text
    found = json.loads((tmp_path / 'a.json').read_text())
    assert [result['mode'] for result in found['results']] == ['forward', 'step'] and found['threads'] == 1
    assert found['part'] == 'audio' and found['versions']['torch'] and found['peaks'] == dict(float32=1e12)
    out = capsys.readouterr().out
    assert out.startswith('mat_tiny_avsynth, part: audio, threads: 1: 1 threads of the CPU')
    assert 'paramwise_options' not in out


def test_a_mistake_is_one_line(tmp_path, capsys):
    for wrong, message in (
        (['--rounds', 0], '--rounds 0: give 1 or more'),
        (['--batch-size', 1, 0], '--batch-size 0: give 1 or more'),
        (['--device', 'cpu', '--dtype', 'float16'], 'float16 needs a GPU'),
        (['--part', 'video'], '--part video: the model has audio'),
        (['--page', tmp_path / 'no.md'], 'no page'),
    ):
        assert run_tool(TOOL, CONFIG, *wrong) == 2
        error = capsys.readouterr().err
        assert error.startswith('error: ') and message in error and error.count('\n') == 1


def test_a_head_whose_classes_are_not_there(capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.model.matmul_peak', lambda *_: 1e12)
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'
    assert run_tool(TOOL, config, '--device', 'cpu', '--modes', 'forward', '--rounds', 1) == 0
    assert 'forward  float32' in capsys.readouterr().out
