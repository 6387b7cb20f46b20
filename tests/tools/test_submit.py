"""From an official list without labels, and clips, to the file that a challenge takes, with the documented tools."""

import csv
import json
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmav.evaluation.predictions import load_predictions, save_predictions
from mmav.registry import MODELS
from tests.clips import make_clip
from tests.evaluation.test_submission import problems
from tests.toys import ROOT, run_tool

CONFIG = ROOT / 'configs' / 'mmt' / 'mmt_tiny_dropout_avsynth_action.py'
HEAD = dict(num_verbs=97, num_nouns=300)
TEST_LIST = """\
narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame
P01_101_0,P01,P01_101,00:00:00.851,00:00:00.50,00:00:01.50,6,18
P01_101_10,P01,P01_101,00:00:01.600,00:00:01.25,00:00:02.75,15,33
P04_110_0,P04,P04_110,,00:00:00.50,00:00:01.25,25,62
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Official lists, the video of two of three segments, and a checkpoint."""
    root = tmp_path_factory.mktemp('epic')
    (root / 'lists').mkdir()
    (root / 'lists' / 'EPIC_100_test_timestamps.csv').write_text(TEST_LIST)
    for part, number in (('verb', 97), ('noun', 300)):
        lines = ''.join(f'{k},{part}:{k}\n' for k in range(number))
        (root / 'lists' / f'EPIC_100_{part}_classes.csv').write_text('id,key\n' + lines)
    (root / 'data' / 'P01').mkdir(parents=True)
    make_clip(root / 'data' / 'P01' / 'P01_101.MP4', seconds=3.0, events=(0.5,))
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIG).model
    model = MODELS.build({**cfg, 'head': {**cfg.head, **HEAD}})
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), root / 'model.pth')
    return root


def run(tool, *arguments):
    assert run_tool(tool, *arguments) == 0


def test_from_the_test_list_to_a_submission(place, tmp_path, capsys):
    data, dump = place / 'data', tmp_path / 'predictions.pkl'
    tool = 'data/epic_kitchens/prepare_epic_kitchens.py'
    run(tool, place / 'lists', '--test', '--clips', data, '--out', data)
    manifest = data / 'unlabelled.csv'
    options = [f'model.head.{name}={number}' for name, number in HEAD.items()]
    loader = ['test_dataloader.num_workers=0']
    views = ['--views', 2, '--crops', 3, '--flip', '--view-average', 'logits']
    words = ['--data-root', data, '--work-dir', tmp_path / 'w', '--unlabelled', manifest, '--dump', dump, *views]
    run('test.py', CONFIG, place / 'model.pth', *words, '--cfg-options', *options, *loader)
    assert '12 views a clip (2 views x 3 crops x 2 mirrored), 1 at a time' in capsys.readouterr().err
    rows, classes = load_predictions(dump)
    assert [row['label'] for row in rows] == [{}, {}] and len(classes['verb']) == 97
    np.testing.assert_allclose([row['scores']['noun'].sum() for row in rows], 1, rtol=1e-5)
    assert not np.array_equal(rows[0]['scores']['verb'], rows[1]['scores']['verb'])

    words = [dump, '--manifest', manifest, '--out', tmp_path / 'test.zip']
    levels = ['--sls-pt', 0, '--sls-tl', 3, '--sls-td', 3]
    assert run_tool('submit.py', 'epic', *words, *levels) == 2
    assert '1 of 3 segments have no prediction, first P04_110_0' in capsys.readouterr().err
    run('submit.py', 'epic', *words, *levels, '--fill')
    assert '3 segments of EPIC_100_test_timestamps.csv, supervision levels 0-3-3' in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / 'test.zip') as file:
        text = file.read('test.json').decode()
    expected = ['P01_101_0', 'P01_101_10', 'P04_110_0']
    assert list(problems(text, expected)) == []
    verbs = json.loads(text)['results']['P01_101_10']['verb']
    assert int(max(verbs, key=verbs.__getitem__)) == rows[1]['scores']['verb'].argmax()

    out = tmp_path / 'list.csv'
    run('submit.py', 'csv', dump, '--manifest', manifest, '--id', 'narration_id', '--out', out, '--topk', 2)
    with open(out, newline='') as file:
        header, *lines = csv.reader(file)
    assert header == ['narration_id', 'verb_1', 'verb_2', 'noun_1', 'noun_2']
    assert [line[0] for line in lines] == expected[:2]
    assert lines[0][1] == classes['verb'][rows[0]['scores']['verb'].argmax()]


@pytest.fixture
def dump(tmp_path):
    rows = [
        dict(path=f'{k}.mp4', start=0.0, end=1.0, label={}, broken=None, sample_idx=k,
             scores=dict(label=np.array([0.25, 0.75], np.float32)))
        for k in range(2)
    ]  # fmt: skip
    save_predictions(tmp_path / 'p.pkl', rows, ['dog', 'cat'])
    return tmp_path / 'p.pkl'


def test_a_table_needs_no_list(dump, tmp_path):
    run('submit.py', 'csv', dump, '--out', tmp_path / 's.csv')
    assert (tmp_path / 's.csv').read_text() == 'id,label\n0,cat\n1,cat\n'
    run('submit.py', 'csv', dump, '--out', tmp_path / 's.csv', '--id', 'path', '--scores')
    assert (tmp_path / 's.csv').read_text() == 'id,dog,cat\n0.mp4,0.25,0.75\n1.mp4,0.25,0.75\n'


def test_mistakes_are_one_line_and_nothing_is_overwritten(dump, tmp_path, capsys):
    (tmp_path / 'mine.csv').write_text('mine')
    epic = ['--manifest', 'l.csv', '--sls-pt', 0, '--sls-tl', 0, '--sls-td', 0]
    for words, message in (
        (['csv', dump, '--out', tmp_path / 'mine.csv'], 'is there and was not written by'),
        (['csv', dump, '--out', tmp_path / 's.txt'], 'the name has to end in .csv'),
        (['csv', dump, '--out', tmp_path / 's.csv', '--topk', 3], '3 classes are asked for'),
        (['csv', dump, '--out', tmp_path / 's.csv', '--threshold', 2], '--threshold a probability'),
        (['csv', dump, '--out', tmp_path / 's.csv', '--id', 'clip'], 'give the list with --manifest'),
        (['epic', dump, '--out', tmp_path / 'mine.csv', *epic], 'has to end in .zip or .json'),
        (['epic', dump, '--out', tmp_path / 's.zip', *epic], 'EPIC_100_verb_classes.csv'),
    ):
        assert run_tool('submit.py', *words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
    assert (tmp_path / 'mine.csv').read_text() == 'mine'
    assert run_tool('submit.py', 'epic', dump, '--manifest', 'l.csv', '--out', 's.zip') == 2  # levels are no default
    assert '--sls-pt' in capsys.readouterr().err


def test_help(capsys):
    for words in ([], ['epic'], ['csv']):
        assert run_tool('submit.py', *words, '--help') == 0
    assert 'self-supervised on public data' in capsys.readouterr().out
