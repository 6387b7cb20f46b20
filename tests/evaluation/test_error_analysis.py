import csv

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from mmav.errors import MmavError
from mmav.evaluation.error_analysis import (
    calibration,
    class_accuracies,
    compare,
    confusion,
    csv_rows,
    macro_f1,
    modality_cases,
    read_outcomes,
    shared_clips,
    worst_pairs,
)
from mmav.evaluation.predictions import accuracy_of, load_predictions, save_predictions
from mmav.tables import write_csv


def row(index, label, scores, broken=None):
    scores = {k: np.float32(v) for k, v in scores.items()} if isinstance(scores, dict) else np.float32(scores)
    path = f'clips/{index}.mp4'
    return dict(path=path, start=0.0, end=1.0, label=label, scores=scores, broken=broken, sample_idx=index)


def outcomes(tmp_path, rows, classes=None, part=None, name='p.pkl'):
    save_predictions(tmp_path / name, rows, classes)
    return read_outcomes(tmp_path / name, part)


def guesses(tmp_path, labels, predicted, classes=None, name='p.pkl', first=0):
    """Outcomes of a model that is sure of what it predicts, one of 3 classes."""
    rows = [row(i + first, a, np.eye(3)[b]) for i, (a, b) in enumerate(zip(labels, predicted, strict=True))]
    return outcomes(tmp_path, rows, classes, name=name)


def random_rows(num, classes, seed, broken=()):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, num)
    logits = generator.normal(size=(num, classes)) + 1.5 * np.eye(classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [row(i, int(labels[i]), scores[i], 'torn' if i in broken else None) for i in range(num)]


def test_confusion_is_scikit_learns(tmp_path):
    rows = random_rows(300, 6, seed=0, broken={3, 70})
    rows[9]['scores'][2] = np.nan
    found = outcomes(tmp_path, rows)
    counts, names = confusion(found)
    predicted = [-1 if i in (3, 70, 9) else int(r['scores'].argmax()) for i, r in enumerate(rows)]
    expected = confusion_matrix([r['label'] for r in rows], predicted, labels=[*range(6), -1])
    assert (counts == expected[:6]).all() and counts[:, -1].sum() == 3 and names == list('012345')
    by_class = {row['class']: row for row in class_accuracies(found)}
    truth = [r['label'] for r in rows]
    each = precision_recall_fscore_support(truth, predicted, labels=range(6), zero_division=0)
    for name, values in zip(('precision', 'top1', 'f1', 'clips'), each, strict=True):
        assert [by_class[str(k)][name] for k in range(6)] == pytest.approx(values, abs=1e-12)
    assert macro_f1(found) == pytest.approx(f1_score(truth, predicted, labels=range(6), average='macro'), abs=1e-12)
    assert found.right.mean() == pytest.approx(accuracy_of(load_predictions(tmp_path / 'p.pkl')[0])['top1'])
    pairs = worst_pairs(found)
    assert sum(pair['count'] for pair in pairs) == counts.sum() - np.trace(counts)
    best = max((counts[a, b], counts[a, b] / counts[a].sum()) for a in range(6) for b in range(7) if a != b)
    assert (pairs[0]['count'], pairs[0]['share']) == best
    assert sum(p['count'] for p in pairs if p['predicted'] == '(no answer)') == 3


def test_classes_and_pairs_worst_first(tmp_path):
    found = guesses(tmp_path, [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 1], ['a', 'b', 'c'])
    assert class_accuracies(found) == [
        {'class': 'b', 'clips': 3, 'right': 1, 'top1': pytest.approx(1 / 3), 'precision': 0.5, 'f1': 0.4},
        {'class': 'a', 'clips': 4, 'right': 3, 'top1': 0.75, 'precision': 0.6, 'f1': pytest.approx(2 / 3)},
    ]
    assert worst_pairs(found) == [
        dict(true='b', predicted='a', count=2, share=pytest.approx(2 / 3)),
        dict(true='a', predicted='b', count=1, share=0.25),
    ]


def test_a_tie_is_an_error_into_the_other_class(tmp_path):
    found = outcomes(tmp_path, [row(0, 0, [0.4, 0.4, 0.2]), row(1, 1, [0.4, 0.4, 0.2])])
    assert found.predicted.tolist() == [1, 0] and not found.right.any()


def slow_ece(confidence, right, num_bins):
    total = 0.0
    for m in range(1, num_bins + 1):
        inside = [i for i, c in enumerate(confidence) if (m - 1) / num_bins < c <= m / num_bins]
        if inside:
            accuracy, mean = sum(right[i] for i in inside), sum(confidence[i] for i in inside)
            total += abs(accuracy - mean) / len(confidence)
    return total


@pytest.mark.parametrize('num_bins', [10, 15])
def test_ece_is_that_of_a_slow_loop(num_bins):
    generator = np.random.default_rng(0)
    confidence = np.append(generator.uniform(0.01, 1, 500), [0.2, 0.4, 1.0])  # some at the edges of bins
    right = generator.random(503) < confidence**2
    found = calibration(confidence, right, num_bins)
    assert found['ece'] == pytest.approx(slow_ece(confidence, right, num_bins), abs=1e-12) and found['ece'] > 0.1
    assert sum(each['clips'] for each in found['bins']) == found['clips'] == 503
    assert found['confidence'] == pytest.approx(confidence.mean()) and found['accuracy'] == right.mean()


def test_calibrated_and_overconfident():
    right = np.array([True] * 7 + [False] * 3)
    assert calibration(np.full(10, 0.7), right)['ece'] == pytest.approx(0)
    assert calibration(np.full(10, 1 + 1e-7), right)['ece'] == pytest.approx(0.3)  # rounded up by float32
    halves = calibration(np.array([0.5, 0.6, 0.7]), np.ones(3, dtype=bool), 2)['bins']
    assert [each['clips'] for each in halves] == [1, 2]  # an upper edge belongs to its bin
    nothing = calibration(np.array([]), np.array([], dtype=bool))
    assert nothing['ece'] is None and nothing['bins'][0]['accuracy'] is None


def test_clips_without_an_answer_have_no_confidence(tmp_path):
    found = outcomes(tmp_path, [row(0, 0, [0.9, 0.1], 'torn'), row(1, 0, [np.inf, 0]), row(2, 0, [0.6, 0.4])])
    assert found.right.tolist() == [False, False, True] and found.broken.tolist() == [True, False, False]
    assert np.isnan(found.confidence[:2]).all() and found.confidence[2] == pytest.approx(0.6)


def test_four_cases_of_modalities(tmp_path):
    labels = [0, 0, 1, 1, 2]
    audio = guesses(tmp_path, labels, [0, 0, 0, 0, 2], name='a.pkl')
    # in another order, in another folder, one clip less and one more
    rows = [row(i, label, np.eye(3)[p]) for i, label, p in [(9, 0, 0), (3, 1, 0), (2, 1, 1), (1, 0, 2), (0, 0, 0)]]
    video = outcomes(tmp_path, [dict(r, path=f'moved/{r["sample_idx"]}.mp4') for r in rows], name='v.pkl')
    model = guesses(tmp_path, labels[:3], [0, 1, 1])
    counts, clips = modality_cases(audio, video, model)
    assert [counts[case] for case in ('clips', 'both', 'audio_only', 'video_only', 'neither')] == [4, 1, 1, 1, 1]
    assert (counts['only_in_audio'], counts['only_in_video']) == (1, 1)
    assert counts['model'] == dict(both=1, audio_only=0, video_only=1, neither=None)
    assert clips == [
        dict(case='audio_only', sample_idx=1, path='clips/1.mp4', true='0', audio='0', video='2', model_right=False),
        dict(case='video_only', sample_idx=2, path='clips/2.mp4', true='1', audio='0', video='1', model_right=True),
    ]


def test_mcnemar_and_bootstrap(tmp_path):
    # 200 clips: 110 both right, 40 only the first, 22 only the second
    first = guesses(tmp_path, [0] * 200, [0] * 150 + [1] * 50, name='a.pkl')
    second = guesses(tmp_path, [0] * 200, [0] * 110 + [1] * 40 + [0] * 22 + [1] * 28, name='b.pkl')
    found = compare(first, second)
    assert (found['first_right'], found['second_right'], found['clips']) == (40, 22, 200)
    assert found['p_value'] == pytest.approx(min(1, 2 * binomtest(22, 62, 0.5, alternative='less').pvalue))
    assert found['difference'] == pytest.approx(0.09) == pytest.approx(found['top1_first'] - found['top1_second'])
    generator = np.random.default_rng(1)
    each = first.right.astype(int) - second.right.astype(int)
    drawn = [each[generator.integers(0, 200, 200)].mean() for _ in range(5000)]
    assert found['interval'] == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=0.006)
    assert found['interval'][0] > 0 and found == compare(first, second)  # the seed is fixed
    back = compare(second, first)
    assert back['difference'] == -found['difference'] and back['p_value'] == pytest.approx(found['p_value'])
    same = compare(first, first)
    assert same['p_value'] == 1 and same['interval'] == [0, 0]


def test_only_the_same_clips_are_compared(tmp_path):
    first = guesses(tmp_path, [0, 1, 2, 0], [0, 1, 2, 0], name='a.pkl')
    second = guesses(tmp_path, [2, 0, 1], [2, 1, 1], name='b.pkl', first=2)
    found = compare(first, second)
    assert [found[name] for name in ('clips', 'only_in_first', 'only_in_second', 'first_right')] == [2, 2, 1, 1]
    assert [places.tolist() for places in shared_clips(first, second)] == [[2, 3], [0, 1]]


def test_verbs_nouns_and_actions(tmp_path):
    def both(index, verb, noun, broken=None):
        return row(index, dict(verb=0, noun=1), dict(verb=verb, noun=noun), broken)

    rows = [
        both(0, [0.9, 0.1], [0.2, 0.8, 0]),
        both(1, [0.4, 0.6], [0.2, 0.8, 0]),
        both(2, [0.9, 0.1], [0.7, 0.3, 0]),
        both(3, [0.9, 0.1], [0.2, 0.8, 0], 'torn'),
    ]
    classes = dict(verb=['cut', 'wash'], noun=['onion', 'cup', 'pan'])
    right = {part: outcomes(tmp_path, rows, classes, part).right.tolist() for part in ('verb', 'noun', 'action')}
    assert right == dict(
        verb=[True, False, True, False], noun=[True, True, False, False], action=[True, False, False, False]
    )
    action = outcomes(tmp_path, rows, classes, 'action')
    assert action.confidence[0] == pytest.approx(0.72) and action.sizes == (2, 3)
    assert [pair['predicted'] for pair in worst_pairs(action)] == ['(no answer)', 'cut onion', 'wash cup']
    assert class_accuracies(action)[0]['class'] == 'cut cup'
    for part in ('verb', 'noun', 'action'):
        expected = accuracy_of(rows)[f'{part}_top1']
        assert outcomes(tmp_path, rows, classes, part).right.mean() == expected
    with pytest.raises(MmavError, match='needs --part verb, noun or action'):
        read_outcomes(tmp_path / 'p.pkl')
    save_predictions(tmp_path / 'p.pkl', [row(0, 0, [1, 0])])
    with pytest.raises(MmavError, match='needs no --part'):
        read_outcomes(tmp_path / 'p.pkl', 'action')


def test_of_very_many_classes_the_matrix_has_those_that_occur(tmp_path):
    scores = np.zeros((3, 1001))
    scores[[0, 1, 2], [7, 1000, 7]] = 1
    found = outcomes(tmp_path, [row(0, 7, scores[0]), row(1, 7, scores[1]), row(2, 500, scores[2], 'torn')])
    counts, names = confusion(found)
    assert names == ['7', '500', '1000'] and counts.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ('rows', 'classes', 'message'),
    [
        ([row(0, 0, [1, 0]), row(1, 0, [1, 0, 0])], None, 'different numbers of classes'),
        ([row(0, 0, [1, 0])], ['a'], 'different numbers of classes'),
        ([row(0, 2, [1, 0])], None, 'a label that is none of its 2 classes'),
        ([row(0, 0, [3.5, -1])], None, r'scores from -1 to 3\.5: not probabilities'),
        ([row(0, 0, [1, 0])] * 2, None, 'has a clip twice: 0.mp4'),
    ],
)
def test_dumps_that_are_wrong(tmp_path, rows, classes, message):
    with pytest.raises(MmavError, match=message):
        outcomes(tmp_path, rows, classes)


@pytest.mark.parametrize(
    ('rows', 'classes', 'message'),
    [
        ([row(0, 0, [1, 0, 0])], ['a', 'b', 'c'], 'of different classes'),
        ([row(0, 0, [1, 0])], ['b', 'a'], 'of different classes'),
        ([row(5, 0, [1, 0])], None, 'no clip in common'),
        ([row(0, 1, [1, 0])], None, r'differ in the label of 0\.mp4'),
    ],
)
def test_dumps_that_do_not_go_together(tmp_path, rows, classes, message):
    first = outcomes(tmp_path, [row(0, 0, [1, 0])], ['a', 'b'], name='a.pkl')
    with pytest.raises(MmavError, match=message):
        compare(first, outcomes(tmp_path, rows, classes))


def test_csv_keeps_commas(tmp_path):
    write_csv(tmp_path / 'new' / 't.csv', csv_rows([dict(name='drum, snare', share=1 / 3)], ['name', 'share']))
    with open(tmp_path / 'new' / 't.csv', newline='') as file:
        assert list(csv.DictReader(file)) == [dict(name='drum, snare', share='0.3333')]
