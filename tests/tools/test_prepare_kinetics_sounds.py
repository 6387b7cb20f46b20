import pytest

from tests.toys import ROOT, run_tool

TOOL = 'data/kinetics_sounds/prepare_kinetics_sounds.py'
HEADER = 'label,youtube_id,time_start,time_end,split,is_cc\n'


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / 'train.csv').write_text(
        HEADER + 'abseiling,0wR5jVB-WPk,417,427,train,0\nsinging,-bcdefghijk,0,10,train,0\n'
        'strumming guitar,Abcdefghijk,0,10,train,0\n'
    )
    (tmp_path / 'val.csv').write_text(HEADER + 'tap dancing,3yaoNwz99xM,62,72,val,1\n')
    for name in ('train/singing/-bcdefghijk_000000_000010.mp4', 'Abcdefghijk.mp4', 'val/tap_dancing/3yaoNwz99xM.webm'):
        (tmp_path / 'k400' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'k400' / name).write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_prepares_what_the_config_asks_for(root, capsys):
    assert run_tool(TOOL, '--train', 'train.csv', '--test', 'val.csv', '--clips', 'k400') == 0
    assert 'train     2      2        0         0  100.00%' in capsys.readouterr().out
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'kinetics_sounds.py')
    data = root / cfg.data_root
    assert (data / cfg.train_dataloader.dataset.ann_file).read_text() == (
        f'path,label\n{root}/k400/train/singing/-bcdefghijk_000000_000010.mp4,singing\n'
        f'{root}/k400/Abcdefghijk.mp4,strumming guitar\n'
    )
    assert (data / cfg.test_dataloader.dataset.ann_file).read_text() == (
        f'path,label\n{root}/k400/val/tap_dancing/3yaoNwz99xM.webm,tap dancing\n'
    )
    assert len((data / 'classes.txt').read_text().splitlines()) == cfg.num_classes == 32


def test_31_classes(root, capsys):
    lists = ['--train', 'train.csv', '--test', 'val.csv']
    assert run_tool(TOOL, *lists, '--clips', 'k400', '--classes', 31, '--out', 'ks31') == 0
    assert 'singing' in (root / 'ks31' / 'train.csv').read_text()
    assert 'strumming guitar' not in (root / 'ks31' / 'train.csv').read_text()
    assert len((root / 'ks31' / 'classes.txt').read_text().splitlines()) == 31
    assert 'train.csv: 2 rows of other classes are skipped' in capsys.readouterr().out


def test_dry_run(root, capsys):
    assert run_tool(TOOL, '--test', 'val.csv', '--dry-run') == 0
    printed = capsys.readouterr().out
    assert 'test      1         0      1        1' in printed and 'no train list is given (--train)' in printed
    assert not (root / 'data').exists()


def test_mistakes_are_one_line(root, capsys):
    for arguments, message in (
        ([], 'error: give at least one list with --train or --test\n'),
        (['--test', 'val.csv'], 'error: give the folder of the clips with --clips DIR'),
        (['--test', 'train.csv', '--dry-run'], "split 'train' in the list given with --test\n"),
        (['--test', 'nowhere.csv', '--dry-run'], 'error: no annotation file at nowhere.csv; give the official file\n'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
    assert run_tool(TOOL, '--classes', 30) == 2
    assert 'invalid choice: 30' in capsys.readouterr().err


def test_help(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert '--test kinetics400_val.csv --dry-run' in capsys.readouterr().out
