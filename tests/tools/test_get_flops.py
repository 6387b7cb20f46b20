import json

from mmav.analysis.pages import END, START
from tests.toys import ROOT, run_tool

TOOL = 'analysis_tools/get_flops.py'
CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'


def test_writes_numbers_and_a_page(tmp_path, capsys):
    page = tmp_path / 'page.md'
    marks = dict(name='complexity', tool='tools/analysis_tools/get_flops.py')
    page.write_text(f'# Cost\n{START.format(**marks)}\n{END.format(**marks)}\n')
    sizes = ['--input-size', 'video=8,64,64', 'audio=128,192']
    assert run_tool(TOOL, CONFIG, *sizes, '--json', tmp_path / 'a.json', '--markdown', page) == 0
    output = capsys.readouterr().out
    assert 'the head is counted with 100 classes' in output and 'MAT, 128 x 192' in output
    rows = {row['part']: row for row in json.loads((tmp_path / 'a.json').read_text())[str(CONFIG)]}
    assert rows['head']['parameters'] == (2 * 128 + 1) * 100
    assert rows['total']['explicit'] < rows['total']['folded']
    assert '| mmt_tiny_folder | video | MViTv2, 8 x 64 x 64 |' in page.read_text()

    assert run_tool(TOOL, CONFIG, '--num-classes', 7, '--json', tmp_path / 'a.json') == 0
    assert 'classes' not in capsys.readouterr().out
    rows = {row['part']: row for row in json.loads((tmp_path / 'a.json').read_text())[str(CONFIG)]}
    assert rows['head']['parameters'] == (2 * 128 + 1) * 7


def test_mistakes_are_one_line(tmp_path, capsys):
    for arguments, message in (
        (['nowhere.py'], "error: no config file 'nowhere.py' (`mmav configs` lists mmav's)\n"),
        ([CONFIG, '--input-size', 'audio=big'], "error: --input-size 'big': give whole numbers above 0, "),
        ([CONFIG, '--input-size', 'sound=8,8'], "error: input size of 'sound': the model reads video and audio\n"),
        ([CONFIG, '--num-classes', 7, '--markdown', tmp_path / 'no.md'], "error: no page '"),
    ):
        assert run_tool(TOOL, *arguments) == 2
        assert message in capsys.readouterr().err
