import cv2
import pytest
from mmengine.registry import init_default_scope

from mmav.registry import DATASETS
from mmav.visualization import dataset_sheet
from tests.toys import ROOT, run_tool, write_config

TOOL = 'analysis_tools/browse_dataset.py'
CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'


@pytest.fixture
def folder(clip, silent, tmp_path):
    for name in ('train', 'test'):
        (tmp_path / f'{name}.csv').write_text(f'path,label\n{clip},a\n{silent},b\n{clip},b\n')
    (tmp_path / 'classes.txt').write_text('a\nb\n')
    return tmp_path


def test_a_sheet_lies_with_the_runs_of_its_config(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert run_tool(TOOL, CONFIG, '--data-root', folder, '--split', 'test', '--clips', 2) == 0
    path = 'work_dirs/mmt_tiny_folder/browse_mmt_tiny_folder_test.png'
    captured = capsys.readouterr()
    assert captured.out == f'written: {path}\n' and '2/2' in captured.err
    assert cv2.imread(path).shape[0] > 200


def test_chosen_clips_and_draws(folder):
    pictures = {}
    for name, options in dict(
        one=['--indices', 1], again=['--indices', 1], epoch=['--indices', 1, '--epoch', 1],
        seed=['--indices', 1, '--seed', 1],
        run=['--indices', 1, '--cfg-options', 'randomness.seed=1'],
        two=['--indices', 1, 2], stages=['--indices', 1, '--stages'],
    ).items():  # fmt: skip
        assert run_tool(TOOL, CONFIG, '--data-root', folder, '--out', folder / f'{name}.png', *options) == 0
        pictures[name] = (folder / f'{name}.png').read_bytes()
    assert pictures['one'] == pictures['again'] and pictures['seed'] == pictures['run']
    assert len({pictures[name] for name in ('one', 'epoch', 'seed')}) == 3
    heights = [cv2.imread(str(folder / f'{name}.png')).shape[0] for name in ('one', 'two', 'stages')]
    assert heights == sorted(heights) and heights[2] > 2 * heights[0]


def test_mistakes_are_one_line(folder, capsys):
    data = ['--data-root', folder]
    for arguments, message in (
        (['nowhere.py'], "error: no config file 'nowhere.py' (`mmav configs` lists mmav's)\n"),
        ([CONFIG, '--clips', 0], 'error: --clips 0: give a number from 1 on\n'),
        ([CONFIG, '--seed', -1], 'error: --seed -1: give a number from 0 on\n'),
        ([CONFIG, '--out', 'a.jpg'], 'error: --out a.jpg: the picture is a PNG file'),
        ([CONFIG, *data, '--indices', 7, '--out', folder / 'a.png'], 'error: there is no clip 7: the set has 3'),
        ([CONFIG, '--data-root', folder / 'none'], 'error: '),
        ([write_config(folder)], "error: dataset of type 'ToyDataset': only an AVDataset, or what wraps one"),
        ([write_config(folder, 'del test_dataloader, test_evaluator, test_cfg\n'), '--split', 'test'], 'has no test_'),
    ):
        assert run_tool(TOOL, *arguments) == 2
        captured = capsys.readouterr().err
        assert message in captured and captured.count('\n') == 1
    assert not list(folder.glob('*.png'))


def test_joined_datasets_are_drawn_as_they_are_trained_on(folder):
    """With the classes of the whole, and with the draws that they have there."""
    leaf = dict(type='AVDataset', ann_file='train.csv', data_root=str(folder), classes=['a', 'b'], pipeline=[])
    joined = dict(type='ConcatDataset', datasets=[leaf, leaf], classes=['b', 'a'])
    init_default_scope('mmav')
    leaves = dataset_sheet.build_av_datasets(dict(type='RepeatDataset', dataset=joined, times=2))
    assert [len(part) for part in leaves] == [3, 3] and leaves[0].metainfo['classes'] == ('b', 'a')
    whole = DATASETS.build(joined)
    assert [leaves[1][k]['rng'].random() for k in range(3)] == [whole[3 + k]['rng'].random() for k in range(3)]
    assert leaves[0][0]['rng'].random() != leaves[1][0]['rng'].random()
