"""Captions stay within the frame, their bars tell the scores, and every label can be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.visualization.captions import (
    FIRST_BAR,
    draw_captions,
    fitting_font,
    predictions_at,
    reached_at,
    shortened,
    span_at,
)

LINES = [('dog', 0.8), ('cat', 0.4), ('a label as long as nobody would ever write it, but who knows', 0.0)]


def changed(frame, drawn):
    """First and last row and column that are drawn on."""
    rows, columns = np.nonzero((frame != drawn).any(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize('position', ['top', 'bottom'])
@pytest.mark.parametrize('size', [(360, 640), (64, 64), (640, 200), (90, 700)])
def test_panel_lies_within_the_frame(size, position):
    frame = np.full((*size, 3), 200, np.uint8)
    drawn = draw_captions(frame, LINES, heading='0:00.0 to 0:04.0', position=position)
    assert drawn.shape == frame.shape and (frame == 200).all()
    top, bottom, left, right = changed(frame, drawn)
    margin = min(size) // 40
    assert left == margin and right <= size[1] - 1 - margin
    assert (top == margin) if position == 'top' else (bottom == size[0] - 1 - margin)
    assert bottom - top < 0.95 * size[0]
    # the frame shines through
    assert (drawn[top, left] > 40).all() and (drawn[top, left] < 120).all()


def test_bars_are_as_long_as_the_scores_say():
    frame = np.zeros((480, 640, 3), np.uint8)
    lengths = {}
    for score in (1.0, 0.5, 0.0, 7.0, float('nan')):
        drawn = draw_captions(frame, [('', score)])
        blue = np.abs(drawn.astype(int) - np.array(FIRST_BAR[:3]) * FIRST_BAR[3] / 255).max(axis=2) < 14
        # in the row above the letters
        lengths[score] = blue.sum(axis=1)[np.flatnonzero(blue.any(axis=1))[:1]].sum()
    assert lengths[1.0] > 280 and lengths[7.0] == lengths[1.0]
    assert lengths[0.5] == pytest.approx(lengths[1.0] / 2, abs=1)
    assert list(lengths.values())[2] == list(lengths.values())[4] == 0


def test_lines_and_headings_are_left_out_where_there_is_no_room():
    frame = np.zeros((480, 640, 3), np.uint8)
    heights = [changed(frame, draw_captions(frame, LINES[:1] * n))[1] for n in (1, 2, 5, 9)]
    assert heights[0] < heights[1] < heights[2] == heights[3]
    assert (draw_captions(frame, []) == frame).all()
    tiny = np.zeros((12, 20, 3), np.uint8)
    assert (draw_captions(tiny, LINES) == tiny).all()
    low = np.zeros((40, 400, 3), np.uint8)
    assert changed(low, draw_captions(low, LINES * 5, heading='x'))[1] < 40


def test_long_labels_end_in_an_ellipsis():
    font = fitting_font('x', 20)
    short = shortened('playing the bass guitar', font, 100)
    assert short.endswith('…') and 'playing the bass guitar'.startswith(short[:-1]) and len(short) > 5
    assert font.getlength(short) <= 100
    assert shortened('dog', font, 100) == 'dog'


@pytest.mark.parametrize('label', ['Kätzchen', 'собака', 'σκύλος', 'a → b', 'two\nlines\tof\x00it', '狗叫', 'x' * 999])
def test_every_label_can_be_drawn(label):
    frame = np.zeros((240, 320, 3), np.uint8)
    top, bottom, _, _ = changed(frame, draw_captions(frame, [(label, 0.0)]))
    one = changed(frame, draw_captions(frame, [('one line', 0.0)]))
    assert (top, bottom) == one[:2]
    assert (draw_captions(frame, [(label, 0.0)]) != draw_captions(frame, [('', 0.0)])).any()


def test_wrong_arguments():
    frame = np.zeros((240, 320, 3), np.uint8)
    with pytest.raises(ValueError, match="position 'left' is neither"):
        draw_captions(frame, LINES, position='left')
    with pytest.raises(ValueError, match=r'got shape \(240, 320\) of uint8'):
        draw_captions(frame[..., 0], LINES)


def test_predictions_of_the_nearest_centre():
    windows = [
        dict(start=start, end=start + 4.0, predictions=[dict(label=name, index=0, score=0.5)])
        for name, start in (('a', 0.0), ('b', 3.0), ('c', 6.0))
    ]
    said = {time: predictions_at(windows, time)[0][0] for time in (-1, 3.4, 3.5, 3.6, 6.4, 6.6, 99)}
    assert said == {-1: 'a', 3.4: 'a', 3.5: 'a', 3.6: 'b', 6.4: 'b', 6.6: 'c', 99: 'c'}
    assert span_at(windows, 5.0) == '0:03.0 to 0:07.0'
    assert predictions_at([], 1.0) == [] and span_at([], 1.0) == ''


def test_labels_that_reach_their_thresholds_come_first_with_a_bar_of_their_own():
    dog, cat, owl = (dict(label=name, score=score) for name, score in (('dog', 0.9), ('cat', 0.8), ('owl', 0.7)))
    window = dict(start=0.0, end=4.0, predictions=[dog, cat, owl], labels=[dog, owl])
    assert predictions_at([window], 1.0) == [('dog', 0.9), ('owl', 0.7), ('cat', 0.8)]
    assert reached_at([window], 1.0) == 2
    assert reached_at([dict(window, labels=[])], 1.0) == 0
    assert reached_at([dict(start=0.0, end=4.0, predictions=[dog])], 1.0) == reached_at([], 1.0) == 1
    frame = np.zeros((480, 640, 3), np.uint8)
    blue = []
    for strong in range(3):
        drawn = draw_captions(frame, [('', 1.0), ('', 1.0)], strong=strong)
        close = np.abs(drawn.astype(int) - np.array(FIRST_BAR[:3]) * FIRST_BAR[3] / 255).max(axis=2) < 14
        blue.append(int(close.sum()))
    assert blue[0] == 0 and blue[2] == pytest.approx(2 * blue[1], rel=0.05) and blue[1] > 0
