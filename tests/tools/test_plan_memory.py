import json

from mmav.analysis.pages import END, START
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/plan_memory.py'
CONFIG = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth.py'


def test_plan_as_text_file_picture_and_page(tmp_path, capsys):
    page = tmp_path / 'page.md'
    marks = dict(name='memory plans', tool='tools/analysis_tools/plan_memory.py')
    page.write_text(f'{START.format(**marks)}\n{END.format(**marks)}\n')
    outputs = ['--json', tmp_path / 'a.json', '--picture', tmp_path / 'a.png', '--page', page]
    assert run_tool(TOOL, CONFIG, '--gpu-memory', 4, *outputs) == 0
    output = capsys.readouterr().out
    assert 'mat_tiny_avsynth, 32 clips on each of 1 GPUs of 4 GiB, float32' in output and 'fits: needs 1.' in output
    (found,) = json.loads((tmp_path / 'a.json').read_text()).values()
    assert found['fits'] and found['activation_checkpointing'] == dict(lean=True)
    assert (tmp_path / 'a.png').stat().st_size > 5000
    assert '| mat_tiny_avsynth, 32 clips | 4 GiB |' in page.read_text()


def test_what_does_not_fit_is_refused_with_its_figure(capsys):
    options = ['--batch-size', 256, '--gpu-memory', 1.01, '--amp', 'none']
    assert run_tool(TOOL, CONFIG, *options) == 1
    assert 'does not fit: a step of 256 clips in float32 needs ' in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, message in (
        ([CONFIG, '--gpu-memory', 1], 'error: --gpu-memory 1: give GiB, more than the 1 that CUDA itself'),
        ([CONFIG, '--gpu-memory', 'nan'], 'error: --gpu-memory nan: give GiB, more than the 1'),
        ([CONFIG, '--gpu-memory', 'inf'], 'error: --gpu-memory inf: give GiB, more than the 1'),
        ([CONFIG, '--batch-size', 10**9], 'error: 1000000000 clips on each GPU: give 1 to 100000'),
        ([CONFIG, '--json', ''], 'error: '),
        ([CONFIG, '--gpus', 0], 'error: --gpus 0: give 1 or more'),
        ([CONFIG, '--gpu-memory', 8, 16, '--picture', tmp_path / 'a.png'], 'error: --picture shows one plan'),
        ([CONFIG, '--picture', tmp_path / 'a.doc'], 'is not the name of a picture'),
        (['nowhere.py'], "error: no config file 'nowhere.py'"),
    ):
        assert run_tool(TOOL, *arguments) == 2
        assert message in capsys.readouterr().err
