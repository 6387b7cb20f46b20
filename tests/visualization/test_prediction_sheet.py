from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.text import Text

from mmav.errors import MmavError
from mmav.visualization.prediction_sheet import (
    OTHER,
    RIGHT,
    WRONG,
    draw_prediction_sheet,
    frame_strip,
    inputs_of,
    pick_rows,
)


def row(index, label, scores, broken=None):
    label, scores = dict(label=label), dict(label=np.array(scores, dtype=np.float32))
    return dict(path=f'd/{index}.mp4', start=0, end=1, label=label, scores=scores, broken=broken, sample_idx=index)


def share_of(picture, rgb):
    """Share of pixels whose hue and darkness are near a colour."""
    return (np.abs(picture.astype(int) - np.array(rgb)[::-1]).max(axis=-1) < 25).mean()


def test_colours_tell_right_from_wrong(tmp_path):
    # white frames, so that all colour comes from the predictions
    inputs = [dict(video=torch.full((1, 3, 4, 8, 8), 255, dtype=torch.uint8))]
    for name, label in (('right', 0), ('wrong', 1)):
        draw_prediction_sheet(
            [row(0, label, [0.9, 0.05, 0.05])], inputs, tmp_path / f'{name}.png', classes=['a', 'b', 'c']
        )
    right, wrong = (cv2.imread(str(tmp_path / f'{name}.png')) for name in ('right', 'wrong'))
    pale_green, pale_red = (138, 184, 160), (222, 148, 141)
    assert share_of(right, pale_green) > 0.02 > share_of(wrong, pale_green)
    assert share_of(wrong, pale_red) > 0.02 > share_of(right, pale_red)


@pytest.mark.parametrize(
    ('label', 'broken', 'title', 'colours'),
    [
        ((0, 2), None, 'a | c, d  (0.mp4)', (RIGHT, [RIGHT, RIGHT, OTHER])),
        ((0,), None, 'a  (0.mp4)', (WRONG, [RIGHT, WRONG, OTHER])),
        ((0, 1, 2), None, 'a | b | c, d  (0.mp4)', (WRONG, [RIGHT, RIGHT, RIGHT])),
        ((), 'torn', 'no label  (0.mp4)  cannot be read', (WRONG, [WRONG, WRONG, OTHER])),
        (None, None, '(0.mp4)', ('black', [OTHER, OTHER, OTHER])),
    ],
)
def test_sets_of_labels_and_none(tmp_path, figure, label, broken, title, colours):
    inputs = [dict(audio=torch.randn(1, 1, 6, 9))]
    made = dict(row(0, label, [0.9, 0.2, 0.6], broken), **({} if label is not None else dict(label={})))
    draw_prediction_sheet([made], inputs, tmp_path / 'a.png', classes=['a', 'b', 'c, d'])
    picture, bars = figure[0].axes
    assert picture.get_title(loc='left') == title
    line = next(text for text in picture.findobj(Text) if text.get_text() == title)
    # the bars are those of a, c and b
    found = [to_hex(bar.get_facecolor()) for bar in bars.patches]
    assert (line.get_color(), found) == colours


@pytest.mark.parametrize(('thresholds', 'colour'), [(0.5, WRONG), (0.2, RIGHT), (np.array([0.5, 0.2, 0.7]), WRONG)])
def test_thresholds_say_what_is_predicted(tmp_path, figure, thresholds, colour):
    inputs = [dict(audio=torch.randn(1, 1, 6, 9))]
    made = row(0, (0, 1, 2), [0.9, 0.2, 0.6])
    draw_prediction_sheet([made], inputs, tmp_path / 'a.png', thresholds=thresholds)
    (line,) = (text for text in figure[0].findobj(Text) if text.get_text() == '0 | 1 | 2  (0.mp4)')
    assert line.get_color() == colour


@pytest.mark.parametrize('modalities', [('video', 'audio'), ('audio',)])
def test_more_lines_and_modalities_make_a_larger_picture(tmp_path, modalities):
    made = dict(video=torch.zeros(1, 3, 4, 8, 8), audio=torch.randn(1, 1, 6, 9))
    inputs = [{name: made[name] for name in modalities}] * 3
    rows = [row(i, 0, [0.5, 0.5], broken='torn' if i else None) for i in range(3)]
    draw_prediction_sheet(rows[:1], inputs[:1], tmp_path / 'one.png')
    draw_prediction_sheet(rows, inputs, tmp_path / 'three.png')
    one, three = (cv2.imread(str(tmp_path / name)).shape for name in ('one.png', 'three.png'))
    assert three[0] > 1.8 * one[0]


def test_strip_takes_first_and_last_frame():
    video = torch.arange(5, dtype=torch.uint8).view(1, 1, 5, 1, 1).expand(2, 3, 5, 2, 2)
    assert frame_strip(video, 3)[0, :, 0].tolist() == [0, 0, 2, 2, 4, 4]
    assert frame_strip(video / 4, 2).max() == 255  # floats are stretched


class Clips:
    """A dataset of rows 5 and 6 of a manifest."""

    def __len__(self):
        return 2

    def get_data_info(self, index):
        return dict(path=f'/data/{index + 5}.mp4', sample_idx=index + 5)

    def __getitem__(self, index):
        return dict(inputs=index, data_samples=SimpleNamespace())


def test_clips_are_found_by_row_and_name():
    assert inputs_of([row(6, 0, [1.0]), row(5, 0, [1.0])], Clips()) == [1, 0]
    with pytest.raises(MmavError, match=r'it has no d/0\.mp4 in row 0'):
        inputs_of([row(0, 0, [1.0])], Clips())


def test_few_clips_are_all_shown():
    assert pick_rows(['a', 'b'], 5) == ['a', 'b']
    with pytest.raises(MmavError, match='no predictions'):
        draw_prediction_sheet([], [], 'a.png')
