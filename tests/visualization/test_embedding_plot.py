import cv2
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmav.errors import MmavError
from mmav.visualization.embedding_plot import Panel, check_picture_name, class_styles, draw_embeddings

matplotlib.use('Agg')


def panels(labels, number=3):
    rng = np.random.default_rng(0)
    return [Panel(f'model {i}', rng.standard_normal((len(labels), 2)), f'ARI 0.{i}') for i in range(number)]


def test_panels_show_their_points_in_the_same_colours(tmp_path, figure):
    labels = np.array([0, 0, 2, 5, 2, 5, 5])
    drawn = panels(labels)
    out = tmp_path / 'new' / 'e.png'
    draw_embeddings(drawn, labels, [f'class {i}' for i in range(6)], out_file=out, note='as measured')
    axes = figure[0].axes
    assert [axis.get_title() for axis in axes] == ['(a) model 0', '(b) model 1', '(c) model 2']
    assert [axis.get_xlabel() for axis in axes] == ['ARI 0.0', 'ARI 0.1', 'ARI 0.2']
    for axis, panel in zip(axes, drawn, strict=True):
        for heap, label in zip(axis.collections, (0, 2, 5), strict=True):
            np.testing.assert_allclose(heap.get_offsets(), panel.points[labels == label])
        assert axis.get_aspect() == 1 and not len(axis.get_xticks())
    colours = [[to_hex(heap.get_facecolor()[0]) for heap in axis.collections] for axis in axes]
    assert colours == 3 * [[colour for colour, _ in class_styles(3)]]
    (legend,) = figure[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ['class 0', 'class 2', 'class 5']
    assert [to_hex(line.get_color()) for line in legend.get_lines()] == colours[0]
    assert figure[0].get_supxlabel() == 'as measured'
    height, width = cv2.imread(str(out)).shape[:2]
    assert width == round(figure[0].get_figwidth() * 130) and width > 2 * height


def test_the_legend_stands_outside_and_only_where_it_can_be_read(tmp_path, figure):
    for classes, name in ((20, 'e.png'), (21, 'e.pdf')):
        labels = np.arange(2 * classes) % classes
        draw_embeddings(panels(labels, 1), labels, [40 * 'n'] * classes, out_file=tmp_path / name)
    few, many = figure
    assert (tmp_path / 'e.pdf').read_bytes().startswith(b'%PDF')
    assert len(few.legends) == 1 and not many.legends
    assert few.legends[0].get_texts()[0].get_text() == 27 * 'n' + '…'
    assert few.legends[0].get_window_extent().x0 > few.axes[0].get_window_extent().x1
    assert few.legends[0].get_window_extent().x1 <= few.bbox.x1


@pytest.mark.parametrize(('number', 'grid'), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (5, (2, 3))])
def test_panels_stand_in_rows(number, grid, tmp_path, figure):
    labels = np.zeros(6, dtype=int)
    draw_embeddings(panels(labels, number), labels, ['dog'], out_file=tmp_path / 'e.png')
    assert figure[0].axes[0].get_subplotspec().get_geometry()[:2] == grid
    assert sum(bool(axis.get_title()) for axis in figure[0].axes) == number


def test_classes_differ_in_colour_or_marker():
    assert {marker for _, marker in class_styles(10)} == {'o'}
    for classes in (1, 11, 16, 50, 100):
        assert len(set(class_styles(classes))) == classes
    assert len({colour for colour, _ in class_styles(16)}) == 8 and len(class_styles(309)) == 309


def test_mistakes(tmp_path):
    labels = np.zeros(6, dtype=int)
    with pytest.raises(MmavError, match=r"'e.pgn' is not the name of a picture: end it in .png or .pdf, did you mean"):
        check_picture_name('e.pgn')
    with pytest.raises(MmavError, match='no features to draw'):
        draw_embeddings([], labels, ['dog'], out_file=tmp_path / 'e.png')
    with pytest.raises(MmavError, match=r'model 0 has points of shape \(5, 2\), need \(6, 2\)'):
        draw_embeddings(panels(labels[:5]), labels, ['dog'], out_file=tmp_path / 'e.png')
    (tmp_path / 'file').write_text('')
    with pytest.raises(MmavError, match='cannot write'):
        draw_embeddings(panels(labels, 1), labels, ['dog'], out_file=tmp_path / 'file' / 'e.png')
