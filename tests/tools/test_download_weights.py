import pytest

from mmav.analysis.pages import END, START, read_block
from mmav.models.weights import source
from mmav.models.weights.table import PUBLIC_WEIGHTS, PublicCheckpoint, table_rows
from mmav.tables import markdown_table
from tests.toys import ROOT, run_tool

TOOL = 'model_converters/download_weights.py'
CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_vggsound.py'


@pytest.fixture
def published(server, torch_home, monkeypatch):
    """Has the server give what the configs start from."""
    server.files['MViTv2_B_in1k.pyth'] = b'\x80weights'
    server.asked['MViTv2_B_in1k.pyth'] = 0
    row = PublicCheckpoint('mvitv2_b_in1k', server.address('well', 'MViTv2_B_in1k.pyth'), '', ('ImageNet-1K',), '', '')
    monkeypatch.setattr(source, 'find_row', lambda checkpoint: row if checkpoint == row.name else None)
    return torch_home / row.file


def test_of_a_config_and_by_name(published, server, capsys):
    assert run_tool(TOOL, CONFIG, 'mvitv2_b_in1k') == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        f"{CONFIG}: 'mvitv2_b_in1k' (ImageNet-1K): {published}",
        f"'mvitv2_b_in1k' (ImageNet-1K): {published}",
    ]
    assert published.read_bytes() == b'\x80weights' and server.asked[published.name] == 1
    assert run_tool(TOOL, CONFIG, '--cfg-options', 'model.pretrained=False') == 0
    assert capsys.readouterr().out == f'{CONFIG}: starts from no public weights, nothing to download\n'


def test_a_slip_is_told_before_anything_is_downloaded(published, server, capsys):
    assert run_tool(TOOL, 'mvitv2_b_in1k', 'mvitv2_b_in1') == 2
    assert "no public weights are called 'mvitv2_b_in1', did you mean" in capsys.readouterr().err
    assert server.asked[published.name] == 0


def test_lists_the_names_and_what_is_here(torch_home, capsys):
    torch_home.mkdir(parents=True)
    (torch_home / 'MViTv2_S_in1k.pyth').write_bytes(b'\x80weights')
    assert run_tool(TOOL, '--list') == 0
    header, *rows, last = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ['name', 'here'] and last == f'cache: {torch_home}'
    assert [row.split()[0] for row in rows] == list(PUBLIC_WEIGHTS)
    assert [row.split()[0] for row in rows if row.split()[1] == 'yes'] == ['mvitv2_s_in1k']
    assert {row.split()[1] for row in rows} == {'yes', 'no'}


def test_writes_the_table_of_the_page(tmp_path):
    page = tmp_path / 'page.md'
    marks = dict(name='weights', tool=f'tools/{TOOL}')
    page.write_text(f'{START.format(**marks)}\n{END.format(**marks)}\n')
    assert run_tool(TOOL, '--markdown', page) == 0
    assert '| `mvitv2_b_in1k` |' in page.read_text()


def test_the_documentations_table_is_that_of_the_code():
    block = read_block(ROOT / 'docs' / 'training.md', 'weights', f'tools/{TOOL}')
    assert block.strip() == markdown_table(table_rows())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give a config, a name or an address, or --list'),
        (['mvitv2_b_in1'], "no public weights are called 'mvitv2_b_in1', did you mean 'mvitv2_b_in1k'?"),
        (['nowhere.py'], "no config file 'nowhere.py'"),
        (['mvitv2_b_in1k', '--cfg-options', 'a=1'], '--cfg-options has no effect without a config'),
        (['mvitv2_b_in1k'], "cannot download 'mvitv2_b_in1k' (no connection"),
    ],
)
def test_mistakes_are_one_line(torch_home, capsys, arguments, message):
    assert run_tool(TOOL, *arguments) == 2
    assert capsys.readouterr().err.startswith(f'error: {message}')
