import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmav.errors import MmavError
from mmav.visualization.class_plots import draw_class_scores, draw_modality_scatter

matplotlib.use('Agg')


def table(classes):
    return [
        {'class': f'class {k}', 'support': 10 + k, 'share': 0.1, 'AP': None if k == 1 else (k * 7 % classes) / classes}
        for k in range(classes)
    ]


def test_few_classes_have_a_bar_each(tmp_path, figure):
    draw_class_scores(table(6), tmp_path / 'c.png')
    (axis,) = figure[0].axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ['class 5 (15)', 'class 4 (14)', 'class 3 (13)', 'class 2 (12)', 'class 0 (10)']
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([5 / 6, 4 / 6, 3 / 6, 2 / 6, 0])
    assert axis.get_title() == 'AP of 5 classes: mean 0.467, median 0.500' and axis.yaxis_inverted()
    assert len(axis.collections[0].get_segments()) == 5 and 'red: a guess' in axis.get_xlabel()
    assert cv2.imread(str(tmp_path / 'c.png')) is not None


def test_many_classes_have_bars_at_the_ends_and_a_curve(tmp_path, figure):
    draw_class_scores(table(100), tmp_path / 'c.png')
    high, low, all_of_them = figure[0].axes
    assert [axis.get_title() for axis in (high, low)] == ['the 20 highest', 'the 20 lowest']
    assert len(high.patches) == len(low.patches) == 20 and low.patches[-1].get_width() == 0
    assert all_of_them.get_title().startswith('AP of 99 classes')


def test_another_score_without_a_guess(tmp_path, figure):
    draw_class_scores([{'class': 'a', 'clips': 3, 'f1': 0.9}], tmp_path / 'c.png', score='f1', chance=None)
    (axis,) = figure[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ['a (3)'] and not axis.collections
    with pytest.raises(MmavError, match='no class has the score AP to draw'):
        draw_class_scores([dict(table(2)[1])], tmp_path / 'c.png')


@pytest.mark.parametrize('classes', [1, 8, 120])
def test_scatter_names_stay_apart_and_within(tmp_path, figure, classes):
    generator = np.random.default_rng(0)
    rows = [
        dict(zip(('class', 'AP_audio', 'AP_video', 'gain'), (f'class {k}', *generator.random(3)), strict=True))
        for k in range(classes)
    ]
    draw_modality_scatter(rows, tmp_path / 's.png')
    axis, bar = figure[0].axes
    assert axis.collections[0].get_offsets()[0].tolist() == [rows[0]['AP_audio'], rows[0]['AP_video']]
    assert bar.get_ylabel() == "the model's AP less that of the better modality"
    renderer = FigureCanvasAgg(figure[0]).get_renderer()
    figure[0].draw_without_rendering()
    boxes = [text.get_window_extent(renderer) for text in axis.texts]
    assert boxes and not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(axis.bbox.x0 < box.x0 and box.x1 < axis.bbox.x1 for box in boxes)
    with pytest.raises(MmavError, match='nothing to draw'):
        draw_modality_scatter([], tmp_path / 's.png')
