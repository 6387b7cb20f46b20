import json

import pytest

from tests.toys import run_tool

TOOL = 'data/vggsound/prepare_vggsound.py'
LIST = """\
glLQrEijrKg,300,playing hammond organ,test
-0BIyqJj9ZU,30,"bird chirping, tweeting",train
cRlp5v9BHeE,11,car passing by,train
cRlp5v9BHeE,12,car passing bye,train
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'vggsound.csv').write_text(LIST)
    (tmp_path / 'clips').mkdir()
    for name in ('glLQrEijrKg_000300.mp4', '-0BIyqJj9ZU_000030.MP4'):
        (tmp_path / 'clips' / name).write_bytes(b'x')
    return tmp_path


def test_prepares(root, capsys):
    assert run_tool(TOOL, root / 'vggsound.csv', '--clips', root / 'clips', '--out', root / 'out') == 0
    printed = capsys.readouterr().out
    assert 'train     3      1        1         1   33.33%\ntest      1      1        0         0  100.00%' in printed
    assert "did you mean 'car passing by'?" in printed
    clips = root / 'clips'
    assert (root / 'out' / 'train.csv').read_text() == (
        f'path,label\n{clips}/-0BIyqJj9ZU_000030.MP4,"bird chirping, tweeting"\n'
    )
    assert len((root / 'out' / 'classes.txt').read_text().splitlines()) == 309
    assert json.loads((root / 'out' / 'prepare_report.json').read_text())['media_files'] == 2


def test_dry_run_needs_no_clips_and_writes_nothing(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    before = sorted(root.rglob('*'))
    assert run_tool(TOOL, 'vggsound.csv', '--dry-run') == 0
    printed = capsys.readouterr().out
    assert 'split  rows  left out  clips  classes\ntrain     3         1      2        2\n' in printed
    assert "classes.txt: 309 names, 'air conditioning noise' to 'zebra braying'" in printed
    assert sorted(root.rglob('*')) == before


def test_writes_where_the_config_looks(root, monkeypatch):
    from mmengine.config import Config

    from tests.toys import ROOT

    monkeypatch.chdir(root)
    assert run_tool(TOOL, 'vggsound.csv', '--clips', 'clips') == 0
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'vggsound.py')
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert (root / loader.dataset.data_root / loader.dataset.ann_file).is_file()
        classes = root / loader.dataset.data_root / loader.dataset.classes
        assert len(classes.read_text().splitlines()) == cfg.num_classes


def test_mistakes_are_one_line(root, capsys):
    path = root / 'vggsound.csv'
    (root / 'other.csv').write_text('glLQrEijrKg_000300.mp4,playing hammond organ\n')
    for arguments, message in (
        ([root / 'no.csv', '--dry-run'], 'no.csv; give the official file\n'),
        ([path], 'error: give the folder of the clips with --clips DIR, or --dry-run'),
        ([path, '--clips', root / 'no'], "error: no folder '"),
        ([path, '--clips', root / 'clips', '--out', root / 'out', '--pattern', '{id'], "error: --pattern '{id': "),
        ([path, '--clips', root / 'clips', '--out', root / 'out', '--pattern', 'v_{id}'], 'error: none of the 3 clips'),
        ([root / 'other.csv', '--dry-run'], 'line 1 names a file and a label'),
        ([path, '--dry-run', '--classes', path], "vggsound.csv: line 1: VGGSound has no class 'glLQrEijrKg,300"),
    ):
        assert run_tool(TOOL, *arguments) == 2
        errors = capsys.readouterr().err.splitlines()
        assert message in errors[-1] + '\n'
        assert all(line.startswith(('walk:', 'match:')) or not line for line in errors[:-1])  # progress bars
    assert not (root / 'out').exists()


def test_help(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert 'vggsound.csv --dry-run' in capsys.readouterr().out
