from pathlib import Path

import numpy as np
import pytest

from mmav.analysis.evidence.dumps import read_rows
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions, save_predictions


def write(path, right, *, labels=(0, 1), order=None, classes=('a', 'b')):
    """A dump of clips of the labels in turn, of which these are right."""
    rows = []
    for place, hit in enumerate(right):
        label = labels[place % 2]
        scores = np.where(np.arange(2) == (label if hit else 1 - label), 0.8, 0.2).astype(np.float32)
        clip = dict(path=f'test/{place}.mp4', start=None, end=None, broken=None, sample_idx=place)
        rows.append(dict(clip, label=label, scores=scores))
    save_predictions(path, [rows[place] for place in order or range(len(rows))], classes)
    return str(path)


def test_clips_are_brought_in_one_order_and_seeds_are_those_of_the_paths(tmp_path):
    a = [write(tmp_path / f'a_seed{seed}.pkl', [1, 0, 1, seed]) for seed in (0, 1)]
    b = [write(tmp_path / f'b_seed{seed}.pkl', [0, 0, 1, 1], order=[2, 0, 3, 1]) for seed in (1, 0)]
    (one, two), clips = read_rows({'A': a, 'B': b}, 'top1')
    assert [Path(path).name for path in clips] == ['0.mp4', '1.mp4', '2.mp4', '3.mp4']
    assert one.measured.values.tolist() == [[1, 0, 1, 0], [1, 0, 1, 1]]
    assert two.title == 'B' and two.measured.seeds == (1, 0) and two.measured.values.tolist() == [[0, 0, 1, 1]] * 2


def test_files_without_a_seed_are_paired_in_their_order(tmp_path):
    files = [write(tmp_path / name, [1, 0]) for name in ('x.pkl', 'y_seed7.pkl')]
    (row, _), _ = read_rows({'A': files, 'B': [write(tmp_path / 'z_seed7.pkl', [1, 1])]}, 'top1')
    assert row.measured.seeds == (0, 1)


def test_dumps_that_do_not_go_together_are_refused(tmp_path):
    first = write(tmp_path / 'a.pkl', [1, 0, 1])
    for name, told, other in (
        ('clips', 'are of different clips: only one has 2.mp4', dict(right=[1, 0])),
        ('labels', 'differ in the label of 0.mp4', dict(right=[1, 0, 1], labels=(1, 0))),
    ):
        path = write(tmp_path / f'{name}.pkl', **other)
        with pytest.raises(MmavError, match=told):
            read_rows({'A': [first], 'B': [path]}, 'top1')
    with pytest.raises(MmavError, match='given twice'):
        read_rows({'A': [first], 'B': [first]}, 'top1')
    with pytest.raises(MmavError, match="metric 'top' has no value for each clip"):
        read_rows({'A': [first], 'B': [write(tmp_path / 'b.pkl', [1, 1, 1])]}, 'top')


def test_answers_that_are_missing_are_counted(tmp_path):
    path = write(tmp_path / 'a.pkl', [1, 1, 1, 1])
    rows, classes = load_predictions(path)
    rows[0]['broken'], rows[2]['scores'] = 'no such file', dict(label=np.array([np.nan, 1], dtype=np.float32))
    save_predictions(path, rows, classes)
    (one, two), _ = read_rows({'A': [path], 'B': [write(tmp_path / 'b.pkl', [1, 1, 1, 1])]}, 'top1')
    assert one.unanswered == {'of clips that could not be read': 1, 'no finite scores': 1} and two.unanswered == {}
    assert one.measured.values.tolist() == [[0, 1, 0, 1]]
