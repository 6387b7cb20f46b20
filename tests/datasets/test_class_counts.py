"""Weights against the loops of AST and PaSST, through wrappers."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmav.datasets import AVDataset
from mmav.datasets.class_counts import (
    ClipLabels,
    clip_weights,
    clips_within,
    labels_of,
)
from mmav.errors import ConfigError
from mmav.registry import DATASETS

NAMES = ['a', 'b', 'c', 'd']


def write(folder, rows, name='m.csv', **options):
    (folder / name).write_text('path,label\n' + ''.join(f'{k}.mp4,{row}\n' for k, row in enumerate(rows)))
    return dict(type='AVDataset', ann_file=name, data_root=str(folder), classes=NAMES, pipeline=[], **options)


def build(config):
    init_default_scope('mmav')
    return DATASETS.build(config)


def draw_sets(rng, number=60):
    return [sorted(set(rng.integers(0, 4, rng.integers(0, 4)).tolist())) for _ in range(number)] + [[0], [1], [2], [3]]


@pytest.mark.parametrize('seed', range(3))
def test_weights_of_clips_are_those_of_ast(tmp_path, seed):
    """The loop of YuanGongND/ast, egs/audioset/gen_weight_file.py: 1000 / (count + 0.01), summed over a clip."""
    sets = draw_sets(np.random.default_rng(seed))
    data = build(write(tmp_path, ['|'.join(NAMES[k] for k in each) for each in sets], multi_label=True))
    counts = np.zeros(4)
    for each in sets:
        for k in each:
            counts[k] += 1
    expected = [sum(1000 / (counts[k] + 0.01) for k in each) for each in sets]
    labels = labels_of(data)
    np.testing.assert_array_equal(labels.counts, counts)
    np.testing.assert_allclose(clip_weights(labels), expected, rtol=1e-12)
    # PaSST's, with an offset and the heaviest class
    heaviest = [max((1000 / (counts[k] + 100) for k in each), default=0) for each in sets]
    np.testing.assert_allclose(clip_weights(labels, offset=100, combine='max'), heaviest, rtol=1e-12)
    # the share of the draws that a class has falls from n to 1 / C by the power
    single = ClipLabels(np.repeat([0, 1], [90, 10]), np.arange(1, 101), ('a', 'b'))
    for power, share in ((1.0, 0.5), (0.5, 10**0.5 / (10**0.5 + 90**0.5)), (0.0, 0.1)):
        weights = clip_weights(single, offset=1e-9, power=power)
        assert weights[90:].sum() / weights.sum() == pytest.approx(share)


def test_parts(tmp_path):
    (tmp_path / 'm.csv').write_text('path,verb,noun\na.mp4,cut,cup\nb.mp4,cut,pan\n')
    classes = dict(verb=['cut', 'wash'], noun=['cup', 'pan'])
    data = AVDataset(str(tmp_path / 'm.csv'), [], classes=classes)
    assert labels_of(data, 'noun').classes.tolist() == [0, 1] and labels_of(data, 'verb').counts.tolist() == [2, 0]
    with pytest.raises(ConfigError, match="no label 'label': choose verb or noun"):
        labels_of(data)
    with pytest.raises(ConfigError, match="no label 'nouns', did you mean 'noun'"):
        labels_of(data, 'nouns')


@pytest.mark.parametrize('multi_label', [False, True])
def test_labels_through_wrappers_are_those_of_the_rows(tmp_path, multi_label):
    rng = np.random.default_rng(2)
    each = draw_sets(rng, 9) if multi_label else [[k] for k in rng.permutation([0, 0, 0, 0, 0, 1, 2, 3, 3])]
    one = write(tmp_path, ['|'.join(map(str, each_)) for each_ in each], multi_label=multi_label)
    other = write(tmp_path, ['a', 'a', 'b'], 'n.csv', multi_label=multi_label, indices=[2, 0])
    joined = dict(type='ConcatDataset', datasets=[one, dict(type='RepeatDataset', times=3, dataset=other)])
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=joined)
    for config in (one, other, joined, balanced, dict(type='RepeatDataset', times=2, dataset=balanced)):
        data = build(config)
        labels = labels_of(data)
        rows = [data.get_data_info(k)['label']['label'] for k in range(len(data))]
        assert labels.classes.tolist() == [k for row in rows for k in (row if multi_label else (row,))]
        assert labels.number.tolist() == [len(row) if multi_label else 1 for row in rows]
        assert sum(len(clips) for _, clips in clips_within(data)) == len(data) == len(labels.ends)


def test_other_datasets_are_refused():
    with pytest.raises(ConfigError, match='the labels of a list are not known'):
        labels_of([1, 2])
