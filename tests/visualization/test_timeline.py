import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.visualization.timeline import draw_timeline

SCORES = np.array([[0.1, 0.2, 0.7], [0.5, 0.2, 0.3], [0.1, 0.3, 0.6]])


def test_cells_are_the_scores_at_the_time_of_the_windows():
    figure = draw_timeline(
        [(0, 2), (1.5, 3.5), (3, 5)], SCORES, ['dog', 'cat', 'a name that is much too long to be read']
    )
    axis, _ = figure.axes  # and the colour bar
    assert [label.get_text() for label in axis.get_yticklabels()] == ['a name that is much too lon…', 'dog', 'cat']
    (mesh,) = axis.collections
    assert np.array_equal(mesh.get_array().reshape(3, 3), SCORES[:, [2, 0, 1]].T)
    assert mesh.get_coordinates()[0, :, 0].tolist() == [0, 1.5, 3, 5]
    frames = {(float(np.min(line.get_xdata())), float(np.min(line.get_ydata()))) for line in axis.lines}
    assert frames == {(0, 0), (1.5, 1), (3, 0)}


def test_few_of_many_classes():
    figure = draw_timeline([(0, 1), (1, 2), (2, 3)], SCORES, ['dog', 'cat', 'owl'], most=1)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ['owl'] and len(axis.lines) == 2


def test_nothing_to_draw():
    with pytest.raises(MmavError, match='no windows'):
        draw_timeline([], np.zeros((0, 3)), ['a', 'b', 'c'])


def test_every_class_that_reaches_its_threshold_is_framed():
    figure = draw_timeline([(0, 1), (1, 2), (2, 3)], SCORES, list('abc'), thresholds=np.array([0.6, 0.2, 0.6]))
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ['b', 'c', 'a']
    frames = {(float(np.min(line.get_xdata())), float(np.min(line.get_ydata()))) for line in axis.lines}
    assert frames == {(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)}
    assert axis.get_xlabel() == 'seconds; framed: classes that reach their threshold'
