import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mmav.errors import MmavError
from mmav.evaluation.predictions import (
    accuracy_of,
    average_predictions,
    is_labelled,
    is_multi_label,
    load_predictions,
    part_of,
    read_features,
    refuse_twice,
    require_labels,
    save_predictions,
)


def rows(scores, labels=None, broken=None):
    labels = labels or [0] * len(scores)
    return [
        dict(
            path=f'data/{i}.mp4',
            start=0.0,
            end=1.0,
            label=dict(label=labels[i]),
            scores=dict(label=np.array(s, dtype=np.float32)),
            broken=(broken or {}).get(i),
            sample_idx=i,
        )
        for i, s in enumerate(scores)
    ]


def test_average_of_verbs_and_nouns():
    def row(verb, noun):
        scores = dict(verb=np.float32(verb), noun=np.float32(noun))
        return dict(rows([[0]])[0], label=dict(verb=0, noun=1), scores=scores, feature=np.zeros(2), features={})

    (one,) = average_predictions([[row([1, 0], [0.2, 0.8])], [row([0, 1], [0.6, 0.4])]], [3, 1])
    assert one['scores']['verb'].tolist() == [0.75, 0.25] and not {'feature', 'features'} & set(one)
    assert one['scores']['noun'].tolist() == pytest.approx([0.3, 0.7])
    with pytest.raises(MmavError, match='number of classes'):
        average_predictions([[row([1, 0], [0.2, 0.8])], [row([1, 0], [1.0])]])


class Evil:
    def __reduce__(self):
        return Path.touch, (Path('ran'),)


def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'p.pkl').write_bytes(pickle.dumps(dict(rows=[Evil()], classes=None)))
    with pytest.raises(MmavError, match=r'not a file of predictions: .* is not allowed'):
        load_predictions('p.pkl')
    assert not (tmp_path / 'ran').exists()


def test_missing_or_foreign_file(tmp_path):
    with pytest.raises(MmavError, match=r"no file 'p\.pkl': write one with mmav test"):
        load_predictions('p.pkl')
    save_predictions(tmp_path / 'p.pkl', [dict(path='a')])
    with pytest.raises(MmavError, match='it has no rows with path, start'):
        load_predictions(tmp_path / 'p.pkl')


def test_average_in_any_order_and_folder():
    first = rows([[0.8, 0.2], [0.6, 0.4]])
    second = [dict(row, path=f'moved/{Path(row["path"]).name}') for row in reversed(rows([[0.4, 0.6], [0.0, 1.0]]))]
    averaged = average_predictions([first, second])
    assert [row['scores']['label'].tolist() for row in averaged] == [
        pytest.approx([0.6, 0.4]),
        pytest.approx([0.3, 0.7]),
    ]
    weighted = average_predictions([first, second], [3, 1])
    assert weighted[1]['scores']['label'].tolist() == pytest.approx([0.45, 0.55])


def test_a_model_that_could_not_read_a_clip_has_no_say():
    first, second = rows([[0.5, 0.5]], broken={0: 'torn'}), rows([[0.9, 0.1]])
    (one,) = average_predictions([first, second])
    assert one['broken'] is None and one['scores']['label'].tolist() == pytest.approx([0.9, 0.1])
    (both,) = average_predictions([first, first])
    assert both['broken'] == 'torn' and accuracy_of([both])['top1'] == 0


@pytest.mark.parametrize(
    ('second', 'weights', 'message'),
    [
        (rows([[0.5, 0.5]]), None, 'of different clips: only one has 1.mp4 in row 1'),
        (rows([[0.5, 0.5]] * 2, [0, 1]), None, 'differ in the label'),
        (rows([[0.5, 0.3, 0.2]] * 2), None, 'number of classes'),
        (rows([[0.5, 0.5]]) * 2, None, 'a clip twice'),
        (rows([[0.5, 0.5]] * 2), [1], 'need 2 weights'),
        (rows([[0.5, 0.5]] * 2), [1, -1], 'need 2 weights'),
    ],
)
def test_what_cannot_be_averaged(second, weights, message):
    with pytest.raises(MmavError, match=message):
        average_predictions([rows([[0.5, 0.5]] * 2), second], weights)


def label_sets(labels, seed=0, classes=4):
    """Predictions of clips with sets of labels, or of none where it is None."""
    rng = np.random.default_rng(seed)
    made = rows(rng.random((len(labels), classes)))
    return [
        dict(row, label={} if label is None else dict(label=label)) for row, label in zip(made, labels, strict=True)
    ]


def test_sets_of_labels_are_kept(tmp_path):
    made = label_sets([(0, 2), (), (1,), (0, 1, 3)])
    save_predictions(tmp_path / 'p.pkl', made, ['a', 'b', 'c', 'd'])
    loaded, _ = load_predictions(tmp_path / 'p.pkl')
    assert [row['label']['label'] for row in loaded] == [(0, 2), (), (1,), (0, 1, 3)]
    assert is_multi_label(loaded) and is_labelled(loaded) and not is_multi_label(rows([[1, 0]]))
    assert pickle.loads((tmp_path / 'p.pkl').read_bytes())['rows'][0]['label'] == (0, 2)
    with pytest.raises(MmavError, match=r"'p\.pkl' has clips with several labels: this is for clips with one"):
        require_labels(loaded, 'p.pkl', one=True)
    save_predictions(tmp_path / 'p.pkl', [made[0], dict(made[1], label=dict(label=1))])
    with pytest.raises(MmavError, match='some of its clips have one label, others a set'):
        load_predictions(tmp_path / 'p.pkl')


def test_clips_without_labels(tmp_path):
    made = label_sets([None] * 3)
    save_predictions(tmp_path / 'p.pkl', made)
    loaded, _ = load_predictions(tmp_path / 'p.pkl')
    assert [row['label'] for row in loaded] == [{}] * 3 and not is_labelled(loaded) and not is_multi_label(loaded)
    (one, *_) = average_predictions([loaded, label_sets([None] * 3, seed=1)])
    assert one['label'] == {} and one['scores']['label'].shape == (4,)
    for ask in (lambda: accuracy_of(loaded, path='p.pkl'), lambda: part_of(loaded, None, 'p.pkl')):
        with pytest.raises(
            MmavError, match=r"'p\.pkl' is of clips without labels: give predictions of a labelled list"
        ):
            ask()
    with pytest.raises(MmavError, match='differ in the label'):
        average_predictions([loaded, rows(np.ones((3, 4)))])


def test_averages_of_label_sets():
    labels = [(0, 2), (), (1,), (0, 1, 3), (2, 3)]
    first, second = label_sets(labels), label_sets(labels, seed=1)
    averaged = average_predictions([first, second], [3, 1])
    expected = [0.75 * a['scores']['label'] + 0.25 * b['scores']['label'] for a, b in zip(first, second, strict=True)]
    assert np.array([row['scores']['label'] for row in averaged]) == pytest.approx(np.array(expected))
    assert [row['label']['label'] for row in averaged] == labels
    found = accuracy_of(averaged)
    truth = [[int(k in label) for k in range(4)] for label in labels]
    assert found['mAP'] == pytest.approx(average_precision_score(truth, expected), abs=1e-6)
    assert found.keys() == {'mAP', 'AUC', 'd_prime', 'hit1', 'macro_f1', 'micro_f1'}
    both = [
        dict(
            row,
            label=dict(verb=row['label']['label'], noun=(0,)),
            scores=dict.fromkeys(('verb', 'noun'), row['scores']['label']),
        )
        for row in averaged
    ]
    assert accuracy_of(both)['verb_mAP'] == found['mAP'] and np.isnan(accuracy_of(both)['noun_mAP'])
    with pytest.raises(MmavError, match='differ in the label'):
        average_predictions([first, label_sets([(0,), (), (1,), (0, 1, 3), (2, 3)])])


def test_features_of_clips_with_one_label(tmp_path, capsys):
    made = [dict(row, feature=np.full(2, i)) for i, row in enumerate(label_sets([(0, 2), (3,), (), (1,)]))]
    save_predictions(tmp_path / 'p.pkl', made)
    features, labels = read_features(tmp_path / 'p.pkl')
    assert features[:, 0].tolist() == [1, 3] and labels.tolist() == [3, 1]
    assert 'left out: 2 clips that have several labels, or none' in capsys.readouterr().out
    save_predictions(tmp_path / 'p.pkl', [made[0], made[2]])
    with pytest.raises(MmavError, match='has no clip with one label only'):
        read_features(tmp_path / 'p.pkl')


def test_one_file_twice_is_refused(tmp_path):
    refuse_twice([tmp_path / 'a.pkl', tmp_path / 'b.pkl'])
    with pytest.raises(MmavError, match=r"a.pkl' is given twice: each test has a file of its own"):
        refuse_twice([tmp_path / 'a.pkl', tmp_path / 'c' / '..' / 'a.pkl'])
