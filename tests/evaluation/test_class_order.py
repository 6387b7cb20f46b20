"""Dumps of models that were tested with the same classes in another order."""

import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.predictions import save_predictions
from tests.toys import run_tool


def row(i, label, scores, **more):
    return dict(path=f'{i}.mp4', start=0.0, end=1.0, label=label, scores=scores, broken=None, sample_idx=i, **more)


def write(path, classes, order=(0, 1, 2), seed=0):
    """Twelve clips; ``order`` are the places of the classes in the list."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(12):
        scores = rng.dirichlet((1, 1, 1)).astype(np.float32)
        rows.append(row(i, order.index(i % 3), scores[list(order)], feature=rng.normal(size=4).astype(np.float32)))
    save_predictions(path, rows, classes and [classes[k] for k in order])
    return path


NAMES = ('a', 'b', 'c')


def test_scores_and_labels_are_put_in_order(tmp_path, capsys):
    paths = [write(tmp_path / 'a.pkl', NAMES), write(tmp_path / 'b.pkl', NAMES, (2, 0, 1))]
    (first, classes), (second, same) = load_alike(paths)
    assert classes == same == dict(label=list(NAMES))
    for one, other in zip(first, second, strict=True):
        assert one['label'] == other['label'] and np.array_equal(one['scores']['label'], other['scores']['label'])
    assert "b.pkl' has the classes in another order" in capsys.readouterr().out


def test_verbs_and_nouns(tmp_path):
    scores = dict(verb=np.float32([0.7, 0.3]), noun=np.float32([0.1, 0.2, 0.7]))
    save_predictions(tmp_path / 'a.pkl', [row(0, dict(verb=0, noun=2), scores)], dict(verb=['v', 'w'], noun=NAMES))
    turned = dict(verb=scores['verb'], noun=scores['noun'][[2, 0, 1]])
    lists = dict(verb=['v', 'w'], noun=['c', 'a', 'b'])
    save_predictions(tmp_path / 'b.pkl', [row(0, dict(verb=0, noun=0), turned)], lists)
    ((one,), _), ((other,), _) = load_alike([tmp_path / 'a.pkl', tmp_path / 'b.pkl'])
    assert one['label'] == other['label']
    assert all(np.array_equal(one['scores'][part], other['scores'][part]) for part in scores)


def test_other_names_are_refused_and_none_are_taken(tmp_path):
    paths = [write(tmp_path / 'none.pkl', None), write(tmp_path / 'a.pkl', NAMES), write(tmp_path / 'x.pkl', 'abx')]
    assert load_alike(paths[:2])[0][1] is None
    with pytest.raises(
        MmavError, match=r"a.pkl' and '.*x.pkl' are of different classes: only .* has 'c'; only .* has 'x'"
    ):
        load_alike(paths)


def outputs(tool, capsys, *arguments):
    assert run_tool(f'analysis_tools/{tool}.py', *arguments) == 0
    text = capsys.readouterr().out.replace('turned', 'same')
    return [line for line in text.splitlines() if 'in another order' not in line and 'written' not in line]


@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('average_predictions', '{model} {other}'),
        ('analyze_errors', '{model} --other {other}'),
        ('analyze_errors', '{model} --audio {other} --video {model}'),
        ('plot_embeddings', '{model} {other} --method pca --out {folder}/picture.png'),
    ],
)
def test_tools_that_join_dumps(tmp_path, capsys, tool, arguments):
    """They say the same of a dump and of itself with its classes in another order."""
    model = write(tmp_path / 'model.pkl', NAMES, seed=1)
    told = [
        outputs(tool, capsys, *arguments.format(model=model, other=other, folder=tmp_path).split())
        for other in (write(tmp_path / 'same.pkl', NAMES), write(tmp_path / 'turned.pkl', NAMES, (1, 2, 0)))
    ]
    assert told[0] == told[1] and told[0]


def test_sets_of_labels(tmp_path):
    save_predictions(tmp_path / 'a.pkl', [row(0, (0, 2), np.float32([0.7, 0.1, 0.2])), row(1, (), np.ones(3))], NAMES)
    turned = [row(0, (0, 1), np.float32([0.2, 0.7, 0.1])), row(1, (), np.ones(3))]
    save_predictions(tmp_path / 'b.pkl', turned, ['c', 'a', 'b'])
    (first, _), (second, _) = load_alike([tmp_path / 'a.pkl', tmp_path / 'b.pkl'])
    for one, other in zip(first, second, strict=True):
        assert one['label'] == other['label'] and np.array_equal(one['scores']['label'], other['scores']['label'])
