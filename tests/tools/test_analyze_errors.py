import csv
import json

import numpy as np
import pytest

from mmav.analysis.label_errors import FILES, MODALITY_FILES
from mmav.evaluation.predictions import load_predictions, save_predictions
from mmav.outputs import RECORD
from tests.evaluation.sets import write_sets
from tests.toys import run_tool

TOOL = 'analysis_tools/analyze_errors.py'


def write(path, guesses, classes=('a', 'b'), broken=(), first=0):
    """A dump of clips of the classes 0, 1, 0, 1 ...; a model that gives its guess 0.8."""
    rows = []
    for i, guess in enumerate(guesses, first):
        scores = np.where(np.arange(2) == guess, 0.8, 0.2).astype(np.float32)
        why = 'torn' if i in broken else None
        rows.append(dict(path=f'{i}.mp4', start=0.0, end=1.0, label=i % 2, scores=scores, broken=why, sample_idx=i))
    save_predictions(path, rows, classes)
    return path


def read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_everything_is_written(tmp_path, capsys):
    model = write(tmp_path / 'm.pkl', [0, 1, 0, 1, 1, 1, 0, 1], broken={1})
    other = write(tmp_path / 'o.pkl', [1, 1, 0, 1, 1, 1, 1], first=1)
    audio = write(tmp_path / 'a.pkl', [0, 0, 0, 0, 1, 1, 1, 0])
    video = write(tmp_path / 'v.pkl', [0, 1, 1, 0, 1, 1, 0, 1])
    out = tmp_path / 'new' / 'errors'
    assert run_tool(TOOL, model, '--other', other, '--audio', audio, '--video', video, '--out', out) == 0
    told = capsys.readouterr().out
    assert f'{model}: 8 clips\n' in told and 'cannot be read, so wrong      1\n' in told
    assert 'against ' in told and ': 7 clips; 1 only in the first and 0 only in the second left out\n' in told
    assert {path.name for path in out.iterdir()} == {
        RECORD,
        'classes.csv',
        'classes.png',
        'confusion.png',
        'errors.json',
        'one_modality.csv',
        'reliability.png',
        'worst_pairs.csv',
    }
    figures = json.loads((out / 'errors.json').read_text())
    assert (figures['top1'], figures['broken'], figures['calibration']['clips']) == (0.75, 1, 7)
    assert figures['calibration']['ece'] == pytest.approx(6 / 7 - 0.8)
    assert [figures['modalities'][name] for name in ('both', 'audio_only', 'video_only', 'neither')] == [2, 1, 3, 2]
    assert [figures['comparison'][name] for name in ('first_right', 'second_right', 'p_value')] == [3, 1, 0.625]
    assert read(out / 'worst_pairs.csv')[0] == dict(true='a', predicted='b', count='1', share='0.2500')
    assert read(out / 'classes.csv')[0] == {
        'class': 'a', 'clips': '4', 'right': '3', 'top1': '0.7500', 'precision': '1.0000', 'f1': '0.8571'
    }  # fmt: skip
    assert figures['macro_f1'] == pytest.approx((0.75 + 6 / 7) / 2)
    assert [(row['case'], row['path']) for row in read(out / 'one_modality.csv')] == [
        ('video_only', '1.mp4'),
        ('audio_only', '2.mp4'),
        ('video_only', '6.mp4'),
        ('video_only', '7.mp4'),
    ]


def test_without_a_folder_nothing_is_written(tmp_path, capsys):
    model = write(tmp_path / 'm.pkl', [0, 1])
    assert run_tool(TOOL, model) == 0
    assert 'top-1                         1.0000' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, 'm.pkl']


def test_a_dump_without_a_readable_clip(tmp_path, capsys):
    model = write(tmp_path / 'm.pkl', [0, 1], broken={0, 1})
    assert run_tool(TOOL, model, '--out', tmp_path / 'out') == 0
    told = capsys.readouterr().out
    assert 'cannot be read, so wrong      2' in told and 'ECE' not in told and 'reliability.png' not in told
    assert json.loads((tmp_path / 'out' / 'errors.json').read_text())['calibration']['ece'] is None


def test_any_number_of_labels(tmp_path, capsys):
    model = write_sets(tmp_path / 'm.pkl', broken={5})
    others = [write_sets(tmp_path / f'{s}.pkl', seed=s, noise=1 + s) for s in (1, 2, 3)]
    (tmp_path / 't.json').write_text(json.dumps(dict(threshold=0.4)))
    names = ('--other', '--audio', '--video')
    options = [word for pair in zip(names, others, strict=True) for word in pair]
    out = tmp_path / 'errors'
    assert run_tool(TOOL, model, *options, '--thresholds', tmp_path / 't.json', '--resamples', 100, '--out', out) == 0
    told = capsys.readouterr().out
    assert 'cannot be read, so never found    1\n' in told and '(paired bootstrap of the clips, 100 times)' in told
    assert {path.name for path in out.iterdir()} == {RECORD, *FILES, *MODALITY_FILES}
    figures = json.loads((out / 'errors.json').read_text())
    assert (figures['broken'], figures['comparison']['clips'], figures['num_classes']) == (1, 80, 5)
    rows = read(out / 'classes.csv')
    assert figures['mAP'] == pytest.approx(np.mean([float(row['AP']) for row in rows]), abs=1e-4)
    assert run_tool(TOOL, model) == 0 and 'at 0.5' in capsys.readouterr().out


def test_verbs_and_nouns(tmp_path, capsys):
    scores = dict(verb=np.float32([0.9, 0.1]), noun=np.float32([0.2, 0.8]))
    rows = [
        dict(path='a.mp4', start=0.0, end=1.0, label=dict(verb=0, noun=i), scores=scores, broken=None, sample_idx=i)
        for i in range(2)
    ]
    save_predictions(tmp_path / 'm.pkl', rows, dict(verb=['cut', 'wash'], noun=['cup', 'pan']))
    assert run_tool(TOOL, tmp_path / 'm.pkl') == 2
    assert 'needs --part verb, noun or action' in capsys.readouterr().err
    for part, top1 in (('verb', '1.0000'), ('noun', '0.5000'), ('action', '0.5000')):
        assert run_tool(TOOL, tmp_path / 'm.pkl', '--part', part) == 0
        assert f'top-1                         {top1}' in capsys.readouterr().out
    assert run_tool(TOOL, tmp_path / 'm.pkl', '--part', 'action', '--out', tmp_path / 'out') == 0
    assert '1      (100%)  cut cup as cut pan' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['none.pkl'], "error: no file 'none.pkl': write one with mmav test"),
        (['text.pkl'], "error: 'text.pkl' is not a file of predictions"),
        (['m.pkl', '--audio', 'm.pkl'], 'error: --audio and --video go together'),
        (['m.pkl', '--other', 'c.pkl'], "error: 'm.pkl' and 'c.pkl' are of different classes"),
        (['m.pkl', '--audio', 'c.pkl', '--video', 'c.pkl'], "error: 'c.pkl' and 'm.pkl' are of different classes"),
        (['m.pkl', '--part', 'noun'], "error: 'm.pkl' needs no --part"),
        (['m.pkl', '--thresholds', '0.3'], 'error: --thresholds is for clips with any number of labels'),
        (['s.pkl', '--resamples', '500'], 'error: --resamples goes with --other'),
        (['s.pkl', '--other', 'm.pkl'], "error: 'm.pkl' has clips with one label each"),
        (['m.pkl', '--other', 's.pkl'], "error: 's.pkl' has clips with several labels"),
        (['s.pkl', '--thresholds', 'none.json'], "error: no file 'none.json': give a number"),
        (['s.pkl', '--part', 'action'], "error: 's.pkl' needs no --part"),
        (['u.pkl'], "error: 'u.pkl' is of clips without labels"),
        (['m.pkl', '--out', 'text.pkl'], "error: 'text.pkl' is a file: give a folder"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    write('m.pkl', [0, 1])
    write('c.pkl', [0, 1], classes=('a', 'c'))
    (tmp_path / 'text.pkl').write_text('no pickle')
    write_sets(tmp_path / 's.pkl')
    rows, _ = load_predictions('m.pkl')
    save_predictions('u.pkl', [dict(row, label={}) for row in rows])
    assert run_tool(TOOL, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count('\n') == 1
