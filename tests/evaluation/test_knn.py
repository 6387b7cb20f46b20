import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from mmav.errors import MmavError
from mmav.evaluation import KNN
from mmav.evaluation import knn as module
from mmav.evaluation.knn import knn_scores
from tests.evaluation.test_kept_features import sample

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 4
BANK = 2 * np.eye(4, 7)[LABELS] + RNG.standard_normal((60, 7))
QUERIES = 2 * np.eye(4, 7)[:3].repeat(5, axis=0) + RNG.standard_normal((15, 7))


def slow(query, bank, labels, *, classes, k, temperature):
    """The formula for one clip, in a loop."""
    cosines = [float(query @ each / np.linalg.norm(query) / np.linalg.norm(each)) for each in bank]
    votes = np.zeros(classes)
    for place in sorted(range(len(bank)), key=lambda place: -cosines[place])[:k]:
        votes[labels[place]] += np.exp(cosines[place] / temperature)
    return votes / votes.sum()


@pytest.mark.parametrize(('k', 'temperature'), [(20, 0.07), (3, 1.0), (60, 0.5)])
def test_equals_the_formula(k, temperature, monkeypatch):
    monkeypatch.setattr(module, '_ENTRIES', 4 * 60)  # four queries at a time
    found = knn_scores(BANK, LABELS, QUERIES, num_classes=5, k=k, temperature=temperature)
    options = dict(classes=5, k=k, temperature=temperature)
    np.testing.assert_allclose(found, [slow(query, BANK, LABELS, **options) for query in QUERIES], atol=1e-5)


@pytest.mark.parametrize('k', [1, 7])
def test_equals_scikit_learn_with_uniform_votes(k):
    expected = KNeighborsClassifier(k, metric='cosine').fit(BANK, LABELS).predict_proba(QUERIES)
    np.testing.assert_allclose(knn_scores(BANK, LABELS, QUERIES, num_classes=4, k=k, temperature=None), expected)


def test_a_clip_is_classified_by_the_others():
    groups = np.arange(60) // 2
    found = knn_scores(BANK, LABELS, num_classes=4, k=5, groups=groups)
    for place in (0, 31, 59):
        others = groups != groups[place]
        expected = slow(BANK[place], BANK[others], LABELS[others], classes=4, k=5, temperature=0.07)
        np.testing.assert_allclose(found[place], expected, atol=1e-5)
    alone = slow(BANK[3], np.delete(BANK, 3, 0), np.delete(LABELS, 3), classes=4, k=5, temperature=0.07)
    np.testing.assert_allclose(knn_scores(BANK, LABELS, num_classes=4, k=5)[3], alone, atol=1e-5)


def test_low_temperatures_do_not_overflow():
    nearest = knn_scores(BANK, LABELS, QUERIES, num_classes=4, k=1)
    np.testing.assert_allclose(knn_scores(BANK, LABELS, QUERIES, num_classes=4, k=9, temperature=1e-6), nearest)


def test_the_metric():
    metric = KNN(4, features=['video', 'audio'], topk=(1, 2))
    for place, (values, label) in enumerate(zip(BANK, LABELS, strict=True)):
        audio = (np.eye(4)[label] + 0.01 * values[:4]).tolist()
        metric.process(None, [sample(f'{place // 2}.mp4', int(label), video=values.tolist(), audio=audio)])
    scores = knn_scores(BANK, LABELS, num_classes=4, k=4, groups=np.arange(60) // 2)
    right = scores.argmax(axis=1) == LABELS
    found = metric.evaluate(60)
    assert found['video_knn_top1'] == pytest.approx(right.mean()) and 0.3 < right.mean() < 0.9
    assert found['video_knn_top2'] > found['video_knn_top1'] and found['audio_knn_top1'] == 1
    assert list(KNN(topk=1).measure(dict(feature=BANK), LABELS, list(range(60)))) == ['knn_top1']


def test_mistakes():
    with pytest.raises(MmavError, match='k=61 does not fit: 60 clips can vote'):
        knn_scores(BANK, LABELS, QUERIES, num_classes=4, k=61)
    with pytest.raises(MmavError, match='k=20 does not fit: 15 clips can vote'):
        knn_scores(BANK, LABELS, num_classes=4, groups=[0] * 45 + list(range(1, 16)))
    with pytest.raises(MmavError, match='temperature 0 must be above 0'):
        knn_scores(BANK, LABELS, QUERIES, num_classes=4, temperature=0)
    with pytest.raises(ValueError, match='k and temperature must be above 0, got 0 and 0.07'):
        KNN(0)
