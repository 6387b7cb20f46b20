import csv
import json
import re

import pytest

from mmav.analysis.modality_report.report import ModalityReport, file_names
from mmav.evaluation.predictions import load_predictions
from tests.analysis.modality_report.worlds import answers, pair_rows

NAMES = ('video', 'audio')
CLASSES = dict(label=['v0a0', 'v0a1', 'v1a0', '<v1a1>'])


def read(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    report = ModalityReport(pair_rows(), CLASSES, NAMES, title='a model', notes=['a note'], given=dict(config='c.py'))
    assert sorted(report.write(folder, dumped=True)) == sorted(
        path.name for path in folder.iterdir() if path.name[0] != '.'
    )
    return folder, report


def test_all_files_are_written(written):
    folder, report = written
    assert set(file_names(NAMES, dumped=True)) - set(file_names(NAMES, dumped=False)) == {
        'both.pkl', 'video.pkl', 'audio.pkl',
    }  # fmt: skip
    figures = json.loads((folder / 'report.json').read_text())
    assert figures['parts'] == json.loads(json.dumps(report.parts)) and figures['given'] == dict(config='c.py')
    assert figures['told']['label'] == report.told['label'] and figures['modalities'] == list(NAMES)


def test_the_tables_hold_the_figures(written):
    folder, report = written
    (found,) = report.parts
    rows = {row['condition']: row for row in read(folder / 'conditions.csv')}
    assert list(rows) == ['both', 'video', 'audio', 'shuffled']
    assert float(rows['video']['score']) == pytest.approx(found['scores']['video']['score'], abs=1e-6)
    assert float(rows['video']['difference']) == pytest.approx(found['gains']['video']['difference'], abs=1e-6)
    assert [row['class'] for row in read(folder / 'classes.csv')] == [row['class'] for row in found['classes']]
    clips = read(folder / 'clips.csv')
    assert len(clips) == 40 and clips[1]['shuffled_with'] == '0.mp4'
    assert load_predictions(folder / 'video.pkl')[1] == CLASSES


def test_the_page_holds_everything_itself(written):
    folder, report = written
    page = (folder / 'report.html').read_text()
    assert page.count('data:image/png;base64,') == 1 and not re.search(r'(src|href)="(?!data:)', page)
    assert '&lt;v1a1&gt;' in page and '<v1a1>' not in page and 'a note' in page
    text = (folder / 'report.md').read_text()
    assert (
        text.startswith('# What the model uses: a model\n') and '![scores, cases and classes](modalities.png)' in text
    )
    for line in report.told['label']:
        assert f'- {line}\n' in text and line in report.text()
    assert 'audio of another clip' in report.text() and 'same class' not in report.text()


def test_sets_of_labels_have_map(tmp_path):
    labels = [(0,), (1, 2), (2,), ()]
    rows = {name: answers(labels, [0, 1, 2, 3]) for name in ('both', *NAMES)}
    report = ModalityReport(rows, None, NAMES, title='t')
    header, first, *_ = report.score_table(report.parts[0])
    assert (header[2], *header[-2:]) == ('hit@1', 'mAP', 'less than both')
    assert float(first[-2]) == pytest.approx(report.parts[0]['scores']['both']['mAP'], abs=1e-4)
    report.write(tmp_path, dumped=False)
    assert float(read(tmp_path / 'conditions.csv')[0]['mAP']) == pytest.approx(float(first[-2]), abs=1e-4)
    assert not (tmp_path / 'both.pkl').exists()


def test_a_condition_without_clips_has_no_score(tmp_path):
    rows = {name: answers([(0,), (1,)], [0, 1]) for name in ('both', *NAMES)}
    report = ModalityReport({**rows, 'shuffled_same': [None, None]}, None, NAMES, title='t')
    assert report.score_table(report.parts[0])[-1] == (
        'audio of another clip, same labels', '0', '-', '-', '-', '-', '-',
    )  # fmt: skip
    report.write(tmp_path, dumped=False)
    row = read(tmp_path / 'conditions.csv')[-1]
    assert row['condition'] == 'shuffled_same' and row['clips'] == '0' and row['score'] == row['difference'] == ''
