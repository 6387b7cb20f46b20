from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_features.py'


def test_it_prints_a_line(capsys):
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_concat_avsynth.py'
    assert run_tool(TOOL, config, '--clips', 8, '--epochs', 1, '--batch-size', 4) == 0
    assert '8 clips of video 1 x 1 x 128, audio 1 x 1 x 128' in capsys.readouterr().out.splitlines()[-1]


def test_a_mistake_is_one_line(capsys):
    assert run_tool(TOOL, ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth_action.py', '--clips', 8) == 2
    assert 'random features have one label' in capsys.readouterr().err
    assert run_tool(TOOL, ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py', '--clips', 0) == 2
    assert '--clips 0: give 1 or more' in capsys.readouterr().err
