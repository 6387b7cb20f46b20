import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mmav.analysis.modality_report.figures import (
    CASES,
    class_precisions,
    clip_cases,
    load_conditions,
    mean_average_precision,
    modality_figures,
)
from mmav.errors import MmavError
from mmav.evaluation.intervals import accuracy_interval
from mmav.evaluation.multi_label import multi_label_scores
from mmav.evaluation.predictions import answers_in, save_predictions
from tests.analysis.modality_report.worlds import answers, codes, pair_rows

NAMES = ('video', 'audio')
CLASSES = dict(label=['v0a0', 'v0a1', 'v1a0', 'v1a1'])


def test_a_model_that_needs_both():
    """Of clips whose class is a pair; a missing half counts as 0, so it is right where the half is 0."""
    (found,) = modality_figures(pair_rows(), CLASSES, NAMES)
    video, audio = codes(40)
    shares = dict(
        either=(video == 0) & (audio == 0),
        first=(video == 1) & (audio == 0),
        second=(video == 0) & (audio == 1),
        synergy=(video == 1) & (audio == 1),
        confusion=np.zeros(40, bool),
        never=np.zeros(40, bool),
    )
    assert tuple(found['cases']) == CASES
    for name, which in shares.items():
        case = found['cases'][name]
        assert (case['clips'], case['share']) == (which.sum(), pytest.approx(which.mean()))
        assert case['interval'] == list(accuracy_interval(which.sum(), 40))
    scores = {name: each['score'] for name, each in found['scores'].items()}
    other = np.roll(np.arange(40), 1)
    expected = dict(
        both=1.0, video=(audio == 0).mean(), audio=(video == 0).mean(), shuffled=(audio == audio[other]).mean()
    )
    assert scores == pytest.approx(expected)
    for name in ('video', 'audio', 'shuffled'):
        gain = found['gains'][name]
        assert gain['difference'] == pytest.approx(1 - scores[name]) and gain['clips'] == 40
        low, high = gain['interval']
        assert 0 < low < gain['difference'] < high < 1
    assert (found['clips'], found['broken'], found['unlabelled'], found['multi_label']) == (40, 0, 0, False)
    labels = 2 * video + audio
    assert found['majority'] == np.bincount(labels).max() / 40
    apart = [k for k in range(40) if labels[k] != labels[other[k]]]
    follows = found['follows']
    assert follows['clips'] == len(apart)
    assert follows['video']['clips'] == sum(audio[k] == audio[other[k]] for k in apart)
    assert follows['audio']['clips'] == sum(video[k] == video[other[k]] for k in apart)
    assert follows['neither']['clips'] == len(apart) - follows['video']['clips'] - follows['audio']['clips']
    rows = {row['class']: row for row in found['classes']}
    assert [rows['v1a1'].pop(f'interval_{name}') for name in NAMES] == [[1.0, 1.0]] * 2
    assert all(rows['v1a1'].pop(f'p_value_{name}') < 0.001 for name in NAMES)
    assert rows['v1a1'] == {
        'class': 'v1a1', 'clips': int((labels == 3).sum()), 'both': 1.0, 'video': 0.0, 'audio': 0.0,
        'gain_video': 1.0, 'gain_audio': 1.0,
    }  # fmt: skip
    assert rows['v1a0']['gain_audio'] == 0 and rows['v1a0']['gain_video'] == 1
    assert found['classes'][-1]['class'] == 'v0a0'  # gains nothing


def test_confusion_and_clips_that_could_not_be_read():
    labels = [0, 0, 1, 1, 2, 2]
    rows = dict(
        both=answers(labels, [1, 1, 0, 1, 2, None]),
        video=answers(labels, [0, 0, 0, 1, None, None]),
        audio=answers(labels, [0, 1, 1, 0, 2, None]),
    )
    (found,) = modality_figures(rows, None, NAMES)
    assert {name: each['clips'] for name, each in found['cases'].items()} == dict(
        either=0, first=1, second=1, synergy=0, confusion=3, never=1
    )
    assert {name: each['clips'] for name, each in found['confusion'].items()} == dict(video=2, audio=2)
    assert found['broken'] == 1 and found['follows'] is None
    assert [row['class'] for row in found['classes']] == ['2', '1', '0']
    assert found['gains']['audio']['difference'] == pytest.approx((2 - 3) / 6)
    cases = clip_cases(rows, 'label', NAMES)
    assert [row['case'] for row in cases] == [
        'confusion', 'confusion', 'confusion', 'video suffices', 'audio suffices', 'never',
    ]  # fmt: skip
    assert cases[4] == dict(sample_idx=4, path='4.mp4', case='audio suffices', both=True, video=False, audio=True)


def test_clips_without_a_partner_are_in_no_figure_of_it():
    rows = pair_rows()
    rows['shuffled'][3] = None
    (found,) = modality_figures(rows, CLASSES, NAMES)
    assert found['scores']['shuffled']['clips'] == found['gains']['shuffled']['clips'] == 39
    cases = clip_cases(rows, 'label', NAMES)
    assert cases[3]['shuffled'] is None is cases[3]['shuffled_with'] and cases[4]['shuffled_with'] == '3.mp4'


def test_sets_of_labels():
    rng = np.random.default_rng(0)
    truth = rng.random((30, 4)) < 0.4
    truth[5], truth[:, 3] = False, True
    truth[5, 3] = False
    labels = [tuple(np.flatnonzero(row).tolist()) for row in truth]
    tables = {name: rng.random((30, 4)) for name in ('both', 'video', 'audio')}
    rows = {
        name: [{**row, 'scores': dict(label=table[k])} for k, row in enumerate(answers(labels, [0] * 30))]
        for name, table in tables.items()
    }
    rows['audio'][2]['broken'] = 'torn'
    (found,) = modality_figures(rows, CLASSES, NAMES)
    assert (found['multi_label'], found['clips'], found['unlabelled']) == (True, 29, 1)
    for name, table in tables.items():
        whole = multi_label_scores(answers_in(rows[name], 'label'))
        assert found['scores'][name]['mAP'] == pytest.approx(whole['mAP'])
        assert found['scores'][name]['right'] == pytest.approx(30 * whole['hit1'])
        hits = sum(truth[k, table[k].argmax()] for k in range(30) if k != 5 and not (name == 'audio' and k == 2))
        assert found['scores'][name]['right'] == hits and found['scores'][name]['clips'] == 29
    row = next(row for row in found['classes'] if row['class'] == 'v0a1')
    assert row['clips'] == truth[:, 1].sum()
    expected = {name: average_precision_score(truth[:, 1], tables[name][:, 1]) for name in ('both', 'video')}
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row['gain_audio'] == pytest.approx(expected['both'] - expected['video'])
    gain = found['gains']['video']['mAP']
    assert gain['difference'] == pytest.approx(found['scores']['both']['mAP'] - found['scores']['video']['mAP'])
    low, high = gain['interval']
    assert low < gain['difference'] < high


def test_a_class_that_all_clips_have_or_none_has_no_precision():
    rows = answers([(0, 1), (0,)], [1, 0])
    assert np.isnan(class_precisions(rows, 'label')[[0, 2, 3]]).all()
    assert mean_average_precision(rows, 'label') == 1.0
    assert mean_average_precision(rows[:1], 'label') is None is mean_average_precision([], 'label')


def test_an_equal_score_is_no_hit():
    for labels in ([0], [(0,)]):
        each = {name: answers(labels, [0]) for name in ('both', 'video', 'audio')}
        each['both'][0]['scores'] = each['video'][0]['scores'] = dict(label=np.full(4, 0.25))
        (found,) = modality_figures(each, None, NAMES)
        assert [found['scores'][name]['right'] for name in ('both', 'video', 'audio')] == [0, 0, 1]


def test_parts_of_a_label():
    """Verbs by video, nouns by audio: each alone is right about its own part only."""

    def rows(verb, noun):
        return [
            dict(path=f'{k}.mp4', start=0.0, end=1.0, label=dict(verb=k % 2, noun=k % 3), broken=None, sample_idx=k,
                 scores=dict(verb=np.eye(2)[k % 2 if verb else 0], noun=np.eye(3)[k % 3 if noun else 0]))
            for k in range(12)
        ]  # fmt: skip

    found = modality_figures(dict(both=rows(1, 1), video=rows(1, 0), audio=rows(0, 1)), None, NAMES)
    assert [each['part'] for each in found] == ['verb', 'noun', 'action']
    shares = [[each['scores'][name]['score'] for name in ('both', 'video', 'audio')] for each in found]
    np.testing.assert_allclose(shares, [[1, 1, 1 / 2], [1, 1 / 3, 1], [1, 1 / 3, 1 / 2]])
    assert found[2]['cases']['synergy']['clips'] == sum(k % 2 > 0 and k % 3 > 0 for k in range(12))
    assert found[2]['majority'] == pytest.approx(1 / 6) and found[2]['classes'] == [] != found[0]['classes']


def test_dumps_are_matched(tmp_path):
    rows, names = pair_rows(6), CLASSES['label']
    order = [3, 1, 2, 0]
    save_predictions(tmp_path / 'both.pkl', rows['both'], names)
    save_predictions(tmp_path / 'video.pkl', rows['video'][:0:-1], names)
    moved = []
    for row in rows['audio'][:5]:
        label, scores = order.index(row['label']['label']), row['scores']['label'][order]
        moved.append({**row, 'label': dict(label=label), 'scores': dict(label=scores)})
    save_predictions(tmp_path / 'audio.pkl', moved, [names[k] for k in order])
    dumps = {name: tmp_path / f'{name}.pkl' for name in ('both', 'video', 'audio')}
    found, classes, lost = load_conditions(dumps['both'], {name: dumps[name] for name in NAMES})
    assert classes == CLASSES and lost == {str(dumps['both']): 2, str(dumps['video']): 1, str(dumps['audio']): 1}
    for name, each in found.items():
        assert [row['path'] for row in each] == [f'{k}.mp4' for k in range(1, 5)]
        for row, other in zip(each, rows[name][1:5], strict=True):
            np.testing.assert_array_equal(row['scores']['label'], other['scores']['label'])
            assert row['label'] == other['label']


def test_dumps_that_do_not_match_are_refused(tmp_path):
    rows, paths = pair_rows(6), [tmp_path / f'{k}.pkl' for k in range(3)]
    for path, name in zip(paths, ('both', 'video', 'audio'), strict=True):
        save_predictions(path, rows[name])
    save_predictions(paths[2], [{**row, 'path': 'x.mp4'} for row in rows['audio']])
    with pytest.raises(MmavError, match='have no clip in common'):
        load_conditions(paths[0], dict(video=paths[1], audio=paths[2]))
    save_predictions(paths[2], answers([3] * 6, [0] * 6))
    with pytest.raises(MmavError, match=r'differ in the label of .\.mp4'):
        load_conditions(paths[0], dict(video=paths[1], audio=paths[2]))
    with pytest.raises(MmavError, match='is of clips without labels'):
        modality_figures({name: [{**row, 'label': {}} for row in each] for name, each in rows.items()}, None, NAMES)
