import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmav.errors import MmavError
from mmav.evaluation import LinearProbe
from mmav.evaluation.linear_probe import STRENGTHS, cross_validated, linear_probe
from tests.evaluation.test_kept_features import sample


def points(number, seed, spread=1.5, width=12):
    """Three classes that a line parts, in dimensions of very different sizes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 3
    return (2 * np.eye(3, width)[labels] + spread * rng.standard_normal((number, width))) * 10.0 ** np.arange(
        width
    ), labels


def test_equals_scikit_learn():
    (train, labels), (test, _) = points(90, 0), points(30, 1)
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8)).fit(train, labels)
    found = linear_probe(train, labels, test, num_classes=5, c=0.1)
    np.testing.assert_allclose(found.scores[:, :3], expected.predict_proba(test), atol=2e-3)
    assert not found.scores[:, 3:].any() and (found.c, found.held_out, found.tried) == (0.1, 0, {})
    assert found.converged


def test_the_strength_is_chosen_on_training_clips():
    # few clips in many dimensions: without regularisation the noise is learned
    (train, labels), (test, truth) = points(60, 0, spread=1.0, width=60), points(300, 1, spread=1.0, width=60)
    steps = []
    found = linear_probe(train, labels, test, num_classes=3, done=lambda: steps.append(1))
    assert found.c in STRENGTHS and found.held_out == 12 and len(steps) == len(STRENGTHS) + 1
    assert found.tried[found.c] == max(found.tried.values()) and list(found.tried) == list(STRENGTHS)
    # what is tested decides nothing
    other = linear_probe(train, labels, -test, num_classes=3)
    assert (other.c, other.tried) == (found.c, found.tried)
    worst = linear_probe(train, labels, test, num_classes=3, c=max(STRENGTHS))
    assert (found.scores.argmax(1) == truth).mean() >= (worst.scores.argmax(1) == truth).mean()


def test_what_is_held_out_shares_no_file_with_the_rest(monkeypatch):
    seen = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, 'fit', lambda self, x, y: seen.append(x) or fit(self, x, y))
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 3)
    labels = groups % 2
    # the file is a feature; what was held out is what was not fitted to
    features = np.stack([groups, labels + 0.1 * rng.standard_normal(60)], axis=1)
    found = linear_probe(features, labels, features, num_classes=2, groups=[f'{group}.mp4' for group in groups])
    fitted = len(np.unique(seen[0][:, 0].round(9)))
    assert found.held_out == 12 and fitted == 16


def test_a_class_of_one_clip_is_never_held_out():
    features, labels = points(9, 0)
    labels = np.where(np.arange(9) == 8, 3, labels)
    found = linear_probe(features, labels, features, num_classes=4)
    assert found.held_out == 3 and (found.scores[:, 3] > 0).all()
    alone = linear_probe(features[:3], labels[:3], features, num_classes=4)
    assert (alone.held_out, alone.c, alone.tried) == (0, 1.0, {})


def test_folds_hold_whole_files():
    # the class is in nothing but the file: who has seen the file knows it
    groups = np.repeat(np.arange(30), 4)
    labels = np.random.default_rng(0).permutation(np.arange(30) % 2)[groups]
    files = np.random.default_rng(1).standard_normal((30, 60))[groups]
    by_file = cross_validated(files, labels, folds=3, groups=groups.tolist(), num_classes=2, c=1.0)
    by_clip = cross_validated(files, labels, folds=3, groups=list(range(120)), num_classes=2, c=1.0)
    assert (by_clip.argmax(1) == labels).mean() > 0.9 > 0.75 > (by_file.argmax(1) == labels).mean()


def test_the_metric():
    features, labels = points(45, 0)
    metric = LinearProbe(3, 0.1, features=['audio'], topk=1)
    for place, (values, label) in enumerate(zip(features, labels, strict=True)):
        metric.process(None, [sample(f'{place}.mp4', int(label), audio=values.tolist())])
    groups = [f'{place}.mp4' for place in range(45)]
    # what the model keeps is float32
    scores = cross_validated(features.astype(np.float32), labels, folds=3, groups=groups, num_classes=3, c=0.1)
    expected = (scores.argmax(axis=1) == labels).mean()
    assert metric.evaluate(45) == dict(audio_linear_top1=pytest.approx(expected)) and 0.4 < expected < 1


def test_mistakes():
    features, labels = points(9, 0)
    with pytest.raises(MmavError, match='C=0 must be above 0'):
        linear_probe(features, labels, features, num_classes=3, c=0)
    with pytest.raises(MmavError, match='needs training clips of two classes, got 1'):
        linear_probe(features, 0 * labels, features, num_classes=3)
    with pytest.raises(MmavError, match='the features are equal in all 9 training clips: is the model trained?'):
        linear_probe(np.ones((9, 4)), labels, features, num_classes=3)
    with pytest.raises(MmavError, match='2 files cannot be parted into 3 folds'):
        cross_validated(features, labels, folds=3, groups=[0] * 4 + [1] * 5, num_classes=3)
    with pytest.raises(ValueError, match='folds must be at least 2 and c above 0, got 1 and None'):
        LinearProbe(1)
