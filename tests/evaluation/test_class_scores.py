import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

from mmav.errors import MmavError
from mmav.evaluation.class_scores import (
    answers_of,
    best_threshold,
    best_thresholds,
    counts_at,
    cuts_of,
    f1_of,
    multi_hot,
    ranking_scores,
)


def draw(seed, clips=60, classes=7, levels=None):
    """Scores, with ties where ``levels`` is given, and labels that they tell something about."""
    rng = np.random.default_rng(seed)
    truth = rng.random((clips, classes)) < rng.uniform(0.1, 0.5, classes)
    truth[0], truth[1] = True, False  # every class has clips of either kind
    scores = 1 / (1 + np.exp(-rng.normal(size=truth.shape) - 1.2 * truth))
    if levels:
        scores = np.round(scores * levels) / levels
    return scores.astype(np.float32), truth


@pytest.mark.parametrize('levels', [None, 4])
@pytest.mark.parametrize('seed', range(10))
def test_equals_scikit_learn(seed, levels):
    scores, truth = draw(seed, levels=levels)
    answers = answers_of(scores, truth)
    precision, area = ranking_scores(answers)
    assert precision == pytest.approx(average_precision_score(truth, scores, average=None), abs=1e-9)
    assert area == pytest.approx(roc_auc_score(truth, scores, average=None), abs=1e-9)
    hits, taken = counts_at(answers, 0.5)
    expected = f1_score(truth, scores >= 0.5, average=None, zero_division=0)
    assert f1_of(hits, taken, answers.support) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('levels', [None, 5])
@pytest.mark.parametrize('seed', range(4))
def test_best_thresholds_are_those_of_a_search(seed, levels):
    scores, truth = draw(seed, clips=30, classes=4, levels=levels)
    answers = answers_of(scores, truth)
    thresholds, best = best_thresholds(answers)
    for k in range(truth.shape[1]):
        precision, recall, _ = precision_recall_curve(truth[:, k], scores[:, k])
        search = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert best[k] == pytest.approx(search.max())
        assert f1_score(truth[:, k], scores[:, k] >= thresholds[k]) == pytest.approx(best[k])
        assert not np.isin(thresholds[k], scores[:, k]) or thresholds[k] == 0  # between scores
    for average in ('macro', 'micro'):
        threshold, value = best_threshold(answers, average)
        search = [f1_score(truth, scores >= t, average=average, zero_division=0) for t in np.unique(scores)]
        assert value == pytest.approx(max(search))
        assert f1_score(truth, scores >= threshold, average=average, zero_division=0) == pytest.approx(value)


@pytest.mark.parametrize('seed', range(5))
def test_broken_clips_never_raise_a_score(seed):
    scores, truth = draw(seed)
    broken = np.random.default_rng(seed).random(len(scores)) < 0.2
    broken[:2] = False
    garbage = scores.copy()
    garbage[broken] = np.random.default_rng(1).random((int(broken.sum()), truth.shape[1]))
    answers, without = answers_of(garbage, truth, broken), answers_of(scores[~broken], truth[~broken])
    for found, of_others in zip(ranking_scores(answers), ranking_scores(without), strict=True):
        # each broken clip of a class is one that it never finds
        share = truth[~broken].sum(axis=0) / truth.sum(axis=0)
        assert found == pytest.approx(of_others * share)
    assert (answers.support == truth.sum(axis=0)).all() and answers.broken == broken.sum()


def test_scores_that_are_not_finite_are_wrong_in_every_class():
    scores, truth = draw(0)
    expected = scores.copy()
    scores[5, 2], expected[5] = np.nan, np.where(truth[5], -1, 2)
    answers = answers_of(scores, truth)
    assert ranking_scores(answers)[1] == pytest.approx(roc_auc_score(truth, expected, average=None))
    hits, taken = counts_at(answers, 0.5)
    reference = f1_score(truth, expected >= 0.5, average=None)
    assert f1_of(hits, taken, answers.support) == pytest.approx(reference)
    precision, area = ranking_scores(answers_of(np.full_like(scores, np.nan), truth))
    assert not precision.any() and not area.any()
    assert np.isnan(scores[5, 2]) and scores[5, 3] == draw(0)[0][5, 3]  # what is given stays as it is


def test_classes_that_cannot_be_judged():
    scores, truth = draw(0)
    truth[:, 1], truth[:, 4] = False, True
    answers = answers_of(scores, truth)
    assert np.flatnonzero(~answers.judged).tolist() == [1, 4]
    for values in ranking_scores(answers):
        assert np.flatnonzero(np.isnan(values)).tolist() == [1, 4]
    assert np.flatnonzero(np.isnan(best_thresholds(answers)[0])).tolist() == [1]
    # where all of the others are broken, no pair is won
    broken = ~truth[:, 0]
    assert ranking_scores(answers_of(scores, truth, broken))[1][0] == 0
    with pytest.raises(MmavError, match='no threshold can be found'):
        best_threshold(answers_of(scores, truth, np.ones(len(scores), dtype=bool)))


def test_cuts():
    cuts = cuts_of(np.array([0.2, 0.9, 0.2, 0.5]), np.array([True, True, False, False]))
    assert (cuts.scores.tolist(), cuts.hits.tolist(), cuts.taken.tolist()) == ([0.9, 0.5, 0.2], [1, 1, 2], [1, 2, 4])


def test_mistakes():
    with pytest.raises(MmavError, match='label 3, but the model tells 3 classes apart'):
        multi_hot([(0,), (1, 3)], 3)
    with pytest.raises(MmavError, match=r'scores of \(2, 3\) do not belong to labels of \(3, 3\)'):
        answers_of(np.zeros((2, 3)), np.zeros((3, 3), dtype=bool))
    with pytest.raises(MmavError, match="average='weighted' is unknown"):
        best_threshold(answers_of(*draw(0)), 'weighted')
