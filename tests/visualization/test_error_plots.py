import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmav.errors import MmavError
from mmav.evaluation.error_analysis import calibration
from mmav.visualization.error_plots import draw_confusion, draw_reliability, worst_rows

matplotlib.use('Agg')


def matrix(classes, seed=0):
    generator = np.random.default_rng(seed)
    counts = generator.poisson(0.3, (classes, classes + 1)) + 20 * np.eye(classes, classes + 1, dtype=int)
    counts[:, -1] = 0
    return counts


def ticks(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_few_classes_have_names_and_numbers(tmp_path, figure):
    counts = np.array([[8, 2, 0], [0, 5, 1]])
    draw_confusion(counts, ['dog', 'a name that is very much too long'], tmp_path / 'c.png')
    axis, _ = figure[0].axes  # and the colour bar
    assert ticks(axis) == ['dog', 'a name that is very muc…']
    assert [label.get_text() for label in axis.get_xticklabels()][-1] == '(no answer)'
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    assert texts == {(0, 0): '8', (1, 0): '2', (1, 1): '5', (2, 1): '1'}  # x is the predicted class
    shown = axis.images[0].get_array()
    assert shown[0, 0] == 0.8 and shown.mask[0, 2] and shown.mask[1, 0]
    assert cv2.imread(str(tmp_path / 'c.png')) is not None


def test_a_column_for_no_answer_only_where_there_is_one(tmp_path, figure):
    draw_confusion(np.array([[8, 2, 0], [0, 5, 0]]), ['a', 'b'], tmp_path / 'c.png')
    assert figure[0].axes[0].images[0].get_array().shape == (2, 2)


def test_many_classes_have_numbers_and_their_worst_rows_enlarged(tmp_path, figure):
    counts = matrix(309)
    counts[300] = 0
    counts[300, [4, 300, 309]] = 7, 1, 2
    draw_confusion(counts, [f'class {i}' for i in range(309)], tmp_path / 'c.png')
    whole, worst, _ = figure[0].axes
    assert whole.images[0].get_array().shape == (309, 310) and 'class 0' not in ticks(whole)
    assert 'no answer' in whole.get_xlabel() and not whole.texts
    assert len(ticks(worst)) == 20 and ticks(worst)[0] == '300  class 300  10% of 10'
    first = sorted((text.get_position()[0], text.get_text()) for text in worst.texts if text.get_position()[1] == 0)
    assert [text for _, text in first] == ['class 4\n7 clips', '(no answer)\n2 clips', 'class 300\n1 clip']
    bold = [text.get_text() for text in worst.texts if text.get_fontweight() == 'bold']
    assert 'class 300\n1 clip' in bold and 'class 4\n7 clips' not in bold
    height, width = cv2.imread(str(tmp_path / 'c.png')).shape[:2]
    assert height > 3 * 309 and width > 2 * height  # several pixels a class


def test_far_too_many_classes_show_the_worst_only(tmp_path, figure):
    counts = np.eye(1001, 1002, dtype=int)
    draw_confusion(counts, [str(i) for i in range(1001)], tmp_path / 'c.png')
    worst, _ = figure[0].axes
    assert ticks(worst)[0] == '0  100% of 1'


def test_worst_rows_have_clips():
    counts = np.array([[5, 5, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]])
    assert worst_rows(counts, 5).tolist() == [2, 0]
    with pytest.raises(MmavError, match='no predictions'):
        draw_confusion(np.zeros((2, 3), dtype=int), ['a', 'b'], 'c.png')


def test_reliability_bars_stand_at_the_accuracies(tmp_path, figure):
    confidence = np.array([0.62, 0.62, 0.95, 0.99])
    draw_reliability(calibration(confidence, np.array([True, False, True, True]), 10), tmp_path / 'r.png')
    above, below = figure[0].axes
    assert [(round(bar.get_x(), 6), bar.get_height()) for bar in above.patches] == [(0.6, 0.5), (0.9, 1)]
    assert [bar.get_height() for bar in below.patches] == [2, 2]
    assert above.get_title() == 'ECE 0.0750; accuracy 0.750, mean confidence 0.795'
    assert cv2.imread(str(tmp_path / 'r.png')) is not None
    with pytest.raises(MmavError, match='no clips with an answer'):
        draw_reliability(calibration(np.array([]), np.array([], dtype=bool)), tmp_path / 'r.png')


def test_sets_of_labels_have_shares_of_their_clips(tmp_path, figure):
    counts, clips = np.array([[5, 2, 1], [4, 1, 0]]), np.array([10, 20])
    draw_confusion(counts, ['a', 'b'], tmp_path / 'c.png', clips=clips)
    axis, _ = figure[0].axes
    assert axis.images[0].get_array().tolist() == [[0.5, 0.2, 0.1], [0.2, 0.05, None]]
    assert axis.get_title().startswith('30 labels of 2 classes; off the diagonal: predicted for clips that do not')
    assert worst_rows(counts, 1).tolist() == [1] and worst_rows(counts, 1, np.array([200, 20])).tolist() == [0]


def test_reliability_of_pairs(tmp_path, figure):
    found = calibration(np.array([0.02, 0.04, 0.9]), np.array([False, True, True]), 10)
    draw_reliability(found, tmp_path / 'r.png', pairs=True)
    above, below = figure[0].axes
    assert (above.get_ylabel(), below.get_xlabel(), below.get_yscale()) == ('share true', 'probability', 'log')
    assert 'share true 0.667, mean probability 0.320' in above.get_title()


@pytest.mark.parametrize('classes', [2, 3, 10])
def test_nothing_is_cut_off(tmp_path, figure, classes):
    draw_confusion(matrix(classes), [f'num{k}' for k in range(classes)], tmp_path / 'c.png')
    box = figure[0].get_tightbbox(FigureCanvasAgg(figure[0]).get_renderer())
    assert box.x0 > 0 and box.y0 > 0 and box.x1 < figure[0].get_figwidth() and box.y1 < figure[0].get_figheight()
