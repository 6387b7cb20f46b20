import json
import shutil

import pytest

from mmav.evaluation.feature_splits import read_splits
from mmav.evaluation.judging import judge
from tests.evaluation.stored import write_clips
from tests.toys import run_tool

TOOL = 'analysis_tools/evaluate_features.py'


@pytest.fixture(scope='module')
def folders(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp('features')
    options = dict(points=dict(spread=1.5))
    train, test = write_clips(root / 'train', 60, 0, **options), write_clips(root / 'test', 30, 1, **options)
    for place in range(30):
        (root / 'data' / 'test').mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / 'data' / 'test' / f'{place}.mp4')
    return train, test, root / 'data'


def test_figures_and_pictures(folders, tmp_path, capsys):
    train, test, data = folders
    assert run_tool(TOOL, train, test, '--k', 5, '--data-root', data, '--out', tmp_path / 'out') == 0
    told = json.loads((tmp_path / 'out' / 'evaluation.json').read_text())
    one, two, classes = read_splits(train, test)
    assert told['figures'] == json.loads(json.dumps(judge(one, two, classes=classes, k=5)))
    assert told['given']['k'] == 5 and told['sizes']['test'] == '30 clips, 3 classes'
    out = capsys.readouterr().out
    assert 'warning: retrieval compares the class embeddings' in out and 'linear probe  audio + video' in out
    for name in ('evaluation.png', 'retrieval.png'):
        assert (tmp_path / 'out' / name).stat().st_size > 10_000


def test_without_the_media_there_is_no_sheet(folders, tmp_path, capsys):
    train, test, _ = folders
    assert run_tool(TOOL, train, test, '--metrics', 'retrieval', '--out', tmp_path / 'out') == 0
    assert 'no retrieval.png: test/0.mp4: no such file; give --data-root' in capsys.readouterr().out
    assert not (tmp_path / 'out' / 'retrieval.png').exists()


def test_one_modality_has_no_retrieval_unless_asked_for(folders, capsys):
    train, test, _ = folders
    assert run_tool(TOOL, train, test, '--features', 'video') == 0
    assert 'no retrieval: retrieval needs features of audio and of video' in capsys.readouterr().out
    assert run_tool(TOOL, train, test, '--features', 'video', '--metrics', 'retrieval') == 2
    assert capsys.readouterr().err.endswith('error: retrieval needs features of audio and of video, got video\n')


def test_mistakes_are_one_line(folders, tmp_path, capsys):
    train, test, _ = folders
    assert run_tool(TOOL, train, train) == 2
    assert 'is given for training and for testing' in capsys.readouterr().err
    assert run_tool(TOOL, train, test, '--metrics', 'knn', '--k', 61) == 2
    assert 'error: k=61 does not fit: 60 clips can vote; give a number from 1 to that\n' in capsys.readouterr().err
    assert run_tool(TOOL, train, tmp_path) == 2
    assert 'no features in' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (('--metrics', 'retrieval', '--k', 5), '--k has no effect without knn'),
        (('--metrics', 'linear', '--temperature', 0.1), '--temperature has no effect without knn'),
        (('--metrics', 'knn', 'retrieval', '--seed', 1), '--seed has no effect without linear'),
        (('--data-root', '.'), '--data-root has no effect without --out'),
    ],
)
def test_an_option_without_effect_is_refused(options, told, folders, capsys):
    train, test, _ = folders
    assert run_tool(TOOL, train, test, *options) == 2
    assert told in capsys.readouterr().err
