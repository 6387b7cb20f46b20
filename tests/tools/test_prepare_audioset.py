import csv
import json
import re

import pytest

from tests.preparation.test_audioset import BALANCED, EVAL, UNBALANCED
from tests.toys import ROOT, run_tool

TOOL = 'data/audioset/prepare_audioset.py'


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'lists').mkdir()
    for name, text in (('balanced_train', BALANCED), ('unbalanced_train', UNBALANCED), ('eval', EVAL)):
        (tmp_path / 'lists' / f'{name}_segments.csv').write_text(text)
    (tmp_path / 'clips').mkdir()
    for name in ('--PJHxphWEs_30.mp4', '--ZhevVpy1s_50.mp4', '---1_cCGK4M_0.mp4', 'Y--4gqARaEJE.wav'):
        (tmp_path / 'clips' / name).write_bytes(b'x')
    return tmp_path


def test_prepares_where_the_configs_look(root, monkeypatch, capsys):
    from mmav.config.reading import load_config

    monkeypatch.chdir(root)
    assert run_tool(TOOL, 'lists', '--clips', 'clips') == 0
    assert re.search('test +2 +1 +1 +0 +50.00%', capsys.readouterr().out)
    for name in ('mmt_k4_l4_audioset', 'mmt_k4_l4_audioset20k'):
        cfg = load_config(str(ROOT / 'configs' / 'mmt' / f'{name}.py'))
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            assert (root / loader.dataset.data_root / loader.dataset.ann_file).is_file()
            classes = root / loader.dataset.data_root / loader.dataset.classes
            assert len(classes.read_text().splitlines()) == cfg.num_classes == 527
    assert json.loads((root / 'data' / 'audioset' / 'prepare_report.json').read_text())['media_files'] == 4


def test_dry_run_writes_nothing(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    before = sorted(root.rglob('*'))
    assert run_tool(TOOL, 'lists/eval_segments.csv', '--dry-run') == 0
    assert "classes.txt: 527 names, 'Speech' to 'Field recording'" in capsys.readouterr().out
    assert sorted(root.rglob('*')) == before


def test_mistakes_are_one_line(root, capsys):
    (root / 'mine.csv').write_text(EVAL)
    for arguments, message in (
        ([root / 'mine.csv', '--dry-run'], 'its name does not tell its split'),
        ([root / 'lists'], 'error: give the folder of the clips with --clips DIR, or --dry-run'),
        ([root / 'lists', '--clips', root / 'no'], "error: no folder '"),
        ([root / 'lists', '--clips', root / 'clips', '--untrimmed', '--pattern', 'x_{id}'], 'none of the 6 clips has'),
    ):
        assert run_tool(TOOL, *arguments, '--out', root / 'out') == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (root / 'out').exists()


def test_a_pattern_may_end_in_a_suffix_of_sound(root):
    arguments = ['--clips', root / 'clips', '--out', root / 'out', '--pattern', 'Y{id}.wav']
    assert run_tool(TOOL, root / 'lists', *arguments) == 0
    with open(root / 'out' / 'test.csv', newline='') as file:
        assert [row['label'] for row in csv.DictReader(file)] == ['Animal|Domestic animals, pets|Dog|Squeak']


def test_help(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert 'eval_segments.csv --dry-run' in capsys.readouterr().out
