from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/benchmark_token_drop.py'
CONFIG = ROOT / 'configs' / 'mat' / 'mat_tiny_avsynth.py'


def test_prints_a_row_for_each_share_and_fills_a_page(capsys, tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(f'<!-- drop: start, written by tools/{TOOL} -->\n<!-- drop: end -->\n')
    words = ['--shares', 0.5, '--rounds', 1, '--page', page, '--block', 'drop']
    assert run_tool(TOOL, CONFIG, *words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(' | ')[:3] for row in rows[2:]] == [
        ['| mat_tiny_avsynth', '0%', '100%'],
        ['| mat_tiny_avsynth', '50%', '50%'],
    ]
    assert '\n'.join(rows) in page.read_text()


def test_a_mistake_is_one_line(capsys):
    assert run_tool(TOOL, CONFIG, '--shares', 1) == 2
    assert capsys.readouterr().err == 'error: --shares 1: give shares of at least 0 and below 1\n'
    assert run_tool(TOOL, CONFIG, '--form', 'ratio', '--shares', 0.5) == 2
    assert capsys.readouterr().err.startswith('error: token_drop.ratio=0.5: this encoder pools its tokens')
