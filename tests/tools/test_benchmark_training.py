from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_training.py'
CONFIG = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth.py'


def test_prints_a_row_for_each_variant(capsys):
    assert run_tool(TOOL, CONFIG, '--variants', 'plain', 'bfloat16+checkpointing', '--rounds', 1) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(' | ')[0] for row in rows[2:]] == ['| plain', '| bfloat16+checkpointing']


def test_a_mistake_is_one_line(capsys):
    assert run_tool(TOOL, CONFIG, '--variants', 'fp8') == 2
    assert capsys.readouterr().err.startswith('error: unknown options fp8: choose one of lean, checkpointing')
    assert run_tool(TOOL, CONFIG, '--rounds', 0) == 2
    assert capsys.readouterr().err == 'error: --rounds 0: give 1 or more\n'
