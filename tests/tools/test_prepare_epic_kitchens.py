import pytest

from mmav.evaluation.action_accuracy import read_ids
from tests.toys import ROOT, run_tool

TOOL = 'data/epic_kitchens/prepare_epic_kitchens.py'
COLUMNS = 'narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n'


@pytest.fixture
def root(tmp_path, monkeypatch):
    lists = dict(
        train=COLUMNS + 'P02_01_0,P02,P02_01,00:00:00.14,00:00:01.37,1,0\n',
        validation=COLUMNS + 'P01_11_0,P01,P01_11,00:00:00.00,00:00:01.89,96,299\n',
        verb_classes='id,key\n' + ''.join(f'{i},verb{i}\n' for i in range(97)),
        noun_classes='id,key\n' + ''.join(f'{i},noun:{i}\n' for i in range(300)),
        tail_verbs='verb\n10\n12\n',
        tail_nouns='noun\n56\n',
    )
    (tmp_path / 'lists').mkdir()
    for name, text in lists.items():
        (tmp_path / 'lists' / f'EPIC_100_{name}.csv').write_text(text)
    for participant, video in (('P01', 'P01_11'), ('P02', 'P02_01')):
        folder = tmp_path / 'data' / 'epic_kitchens' / participant / 'videos'
        folder.mkdir(parents=True)
        (folder / f'{video}.MP4').write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prepares_what_the_config_asks_for(root, capsys):
    assert run_tool(TOOL, 'lists', '--clips', 'data/epic_kitchens') == 0
    assert 'train     1      1        0         0  100.00%' in capsys.readouterr().out
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'epic_kitchens.py')
    data = root / cfg.data_root
    assert (data / cfg.train_dataloader.dataset.ann_file).read_text() == (
        'path,start,end,verb,noun,narration_id\nP02/videos/P02_01.MP4,0.14,1.37,verb1,noun:0,P02_01_0\n'
    )
    assert (data / cfg.test_dataloader.dataset.ann_file).read_text().endswith('1.89,verb96,noun:299,P01_11_0\n')
    for part, name in cfg.test_dataloader.dataset.classes.items():
        assert len((data / name).read_text().splitlines()) == cfg.num_classes[part]
    assert read_ids(cfg.test_evaluator.tail_verbs, str(data)) == {'10', '12'}
    assert read_ids(cfg.test_evaluator.tail_nouns, str(data)) == {'56'}


def test_dry_run(root, capsys):
    (root / 'lists' / 'EPIC_100_train.csv').unlink()
    assert run_tool(TOOL, 'lists', '--dry-run') == 0
    printed = capsys.readouterr().out
    assert 'split  rows  left out  segments  verbs  nouns\ntest      1         0         1      1      1\n' in printed
    assert "verbs.txt: 97 names, 'verb0' to 'verb96'\nnouns.txt: 300 names, " in printed
    assert 'EPIC_100_train.csv is not in lists: there is no train split' in printed


def test_mistakes_are_one_line(root, capsys):
    for arguments, message in (
        (['nowhere', '--dry-run'], "error: no folder 'nowhere'; give a copy of epic-kitchens-100-annotations\n"),
        (['data', '--dry-run'], "error: neither EPIC_100_train.csv nor EPIC_100_validation.csv is in 'data'\n"),
        (['lists'], 'error: give the folder of the clips with --clips DIR'),
        (['lists', '--clips', 'data', '--pattern', '{id}_{start}'], "no field 'start'; use {id}\n"),
    ):
        assert run_tool(TOOL, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1


def test_help(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert 'epic-kitchens-100-annotations --dry-run' in capsys.readouterr().out
