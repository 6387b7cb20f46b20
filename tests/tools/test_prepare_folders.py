"""The tools that prepare CREMA-D, AVE, MUSIC-21 and UCF101: what they write is what the configs ask for."""

import json

import pytest
from mmengine.config import Config

from tests.toys import ROOT, run_tool

TOOLS = {name: f'data/{name}/prepare_{name}.py' for name in ('crema_d', 'ave', 'music21', 'ucf101')}
CLIPS = {
    'crema_d': ('1001_IEO_NEU_XX.flv', '1002_IEO_HAP_LO.flv'),
    'ave': ('RUhOCu3LNXM.mp4', '-bcdefghijk.mp4', 'Abcdefghijk.mp4'),
    'music21': tuple(f'v{k}abcdefghi.mp4' for k in range(5)),
    'ucf101': ('YoYo/v_YoYo_g08_c01.avi', 'YoYo/v_YoYo_g01_c01.avi'),
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    files = {
        'train.csv': '1001_IEO_NEU_XX,NEU\n',
        'test.csv': '1002_IEO_HAP_LO,HAP\n',
        'ave/trainSet.txt': 'Church bell&RUhOCu3LNXM&good&0&10\n',
        'ave/valSet.txt': 'Goat&-bcdefghijk&good&0&10\n',
        'ave/testSet.txt': 'Goat&Abcdefghijk&good&0&10\n',
        'solo.json': json.dumps(dict(videos=dict(violin=[f'v{k}abcdefghi' for k in range(5)]))),
        'ucf/classInd.txt': '1 Archery\n2 YoYo\n',
        'ucf/trainlist01.txt': 'YoYo/v_YoYo_g08_c01.avi 2\n',
        'ucf/testlist01.txt': 'YoYo/v_YoYo_g01_c01.avi\n',
    }
    for clips in CLIPS.values():
        files.update({f'clips/{name}': 'x' for name in clips})
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


LISTS = {
    'crema_d': ['train.csv', 'test.csv'],
    'ave': ['ave'],
    'music21': ['--solo', 'solo.json'],
    'ucf101': ['ucf'],
}


@pytest.mark.parametrize('name', TOOLS)
def test_prepares_what_the_config_asks_for(root, capsys, name):
    assert run_tool(TOOLS[name], *LISTS[name], '--clips', 'clips') == 0
    assert '100.00%' in capsys.readouterr().out
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / f'{name}.py')
    manifests = {cfg[loader].dataset.ann_file for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')}
    data = root / cfg.data_root
    assert manifests == {path.name for path in data.glob('*.csv')} - {'missing.csv'}
    rows = [line for manifest in manifests for line in (data / manifest).read_text().splitlines()[1:]]
    assert sorted(row.partition(',')[0] for row in rows) == sorted(f'{root}/clips/{path}' for path in CLIPS[name])
    if name in ('crema_d', 'ave'):  # the other lists bring their classes
        assert len((data / 'classes.txt').read_text().splitlines()) == cfg.num_classes


@pytest.mark.parametrize('name', TOOLS)
def test_dry_run_and_help(root, capsys, name):
    assert run_tool(TOOLS[name], *LISTS[name], '--dry-run') == 0
    assert 'Nothing was written (--dry-run).' in capsys.readouterr().out and not (root / 'data').exists()
    assert run_tool(TOOLS[name], '--help') == 0
    assert f'prepare_{name}.py' in capsys.readouterr().out


def test_mistakes_are_one_line(root, capsys):
    for name, arguments, message in (
        ('crema_d', [], 'the official split is that of OGM-GE'),
        ('crema_d', ['train.csv'], 'give the folder of the clips with --clips DIR'),
        ('crema_d', ['train.csv', '--fold', 2], '--fold 2 has no effect on the official split'),
        ('crema_d', ['--split', 'speakers', '--clips', 'nowhere'], "no folder 'nowhere'"),
        ('ave', ['.'], 'none of trainSet.txt, valSet.txt, testSet.txt is in'),
        ('ave', ['ave', '--events', '--multi-label'], '--events cuts a clip to the event of one class'),
        ('music21', ['--solo', 'solo.json', '--most', 3], '--most 3 has no effect on whole videos'),
        ('music21', ['--solo', 'ucf/classInd.txt'], 'not JSON'),
        ('ucf101', [], 'give either the folder of the official lists, or your own'),
        ('ucf101', ['ucf', '--train', 'a.txt'], 'give either the folder of the official lists, or your own'),
        ('ucf101', ['ucf', '--split', 2], 'trainlist02.txt and testlist02.txt are not in'),
        ('ucf101', ['ucf', '--classes', 'a.txt'], '--classes a.txt is for your own lists'),
        ('ucf101', ['--train', 'ucf/trainlist01.txt', '--split', 2], '--split 2 chooses among official lists'),
        ('ucf101', ['--train', 'ucf/trainlist01.txt', '--dry-run'], "one class, 'YoYo'"),
    ):
        assert run_tool(TOOLS[name], *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1, error


def test_own_lists(root, capsys):
    (root / 'mine.txt').write_text('YoYo/v_YoYo_g08_c01.avi\nYoYo/v_YoYo_g01_c01.avi 2\n')
    lists = ['--train', 'mine.txt', '--classes', 'ucf/classInd.txt']
    assert run_tool(TOOLS['ucf101'], *lists, '--clips', 'clips', '--out', 'clips') == 0
    assert (root / 'clips' / 'train.csv').read_text() == (
        'path,label\nYoYo/v_YoYo_g08_c01.avi,YoYo\nYoYo/v_YoYo_g01_c01.avi,YoYo\n'
    )
