import cv2
import pytest

from mmav.errors import MmavError
from mmav.visualization.encoder_plot import draw_figures


def accuracy(measure, features, top1, part='label'):
    interval = [top1 - 0.1, top1 + 0.05]
    return dict(measure=measure, features=features, part=part, clips=9, top1=top1, top1_interval=interval, majority=0.2)


def recall(direction, right, r1):
    chance = dict(r1=0.1, r5=0.5)
    figures = dict(r1=r1, r1_interval=[r1, r1 + 0.1], r5=0.8, r5_interval=[0.7, 0.9])
    return dict(measure='retrieval', direction=direction, right=right, clips=1234, chance=chance, **figures)


def heights(axis):
    """Of the bars; those of the legend have none."""
    return sorted(bar.get_height() for bar in axis.patches if bar.get_height())


def test_bars_have_intervals_and_chance(tmp_path, figure):
    rows = [accuracy('linear', 'audio', 0.6), accuracy('knn', 'audio', 0.5), accuracy('linear', 'a' * 40, 0.7)]
    rows += [
        accuracy('knn', 'a' * 40, 0.3),
        recall('audio_to_video', 'clip', 0.4),
        recall('audio_to_video', 'class', 0.6),
    ]
    draw_figures(rows, tmp_path / 'a.png', note='of nine clips')
    top1, recalls = figure[0].axes
    assert heights(top1) == [0.3, 0.5, 0.6, 0.7] and heights(recalls) == [0.4, 0.6, 0.8, 0.8]
    assert [text.get_text() for text in top1.texts] == ['0.60', '0.70', '0.50', '0.30']
    assert [label.get_text() for label in top1.get_xticklabels()] == ['audio', 'a' * 27 + '…']
    assert [label.get_text() for label in recalls.get_xticklabels()] == [
        'audio to video\nclip',
        'audio to video\nclass',
    ]
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in (top1, recalls)]
    assert set(legends[1]) == {'R@1', 'R@5', 'chance'} and set(legends[0]) == {
        'linear probe',
        'k-NN',
        'commonest class',
    }
    intervals = next(bars for bars in top1.containers if hasattr(bars, 'has_yerr')).lines[2][0].get_segments()
    assert [line[:, 1].tolist() for line in intervals] == [pytest.approx([0.5, 0.65]), pytest.approx([0.6, 0.75])]
    assert recalls.get_title() == 'retrieval among 1,234 clips' and cv2.imread(str(tmp_path / 'a.png')) is not None


def test_parts_of_a_label_and_retrieval_alone(tmp_path, figure):
    draw_figures([accuracy('knn', 'audio', 0.6, part) for part in ('verb', 'noun')], tmp_path / 'a.pdf')
    (axis,) = figure[-1].axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ['audio\nverb', 'audio\nnoun']
    draw_figures([recall('audio_to_video', 'clip', 0.4)], tmp_path / 'b.pdf')
    assert len(figure[-1].axes) == 1


def test_mistakes(tmp_path):
    with pytest.raises(MmavError, match='there are no figures to draw'):
        draw_figures([], tmp_path / 'a.png')
    with pytest.raises(MmavError, match='is not the name of a picture'):
        draw_figures([accuracy('knn', 'audio', 0.6)], tmp_path / 'a.jsn')
