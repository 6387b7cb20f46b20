import cv2
import numpy as np
import pytest

from mmav.analysis.grad_cam import figure
from mmav.analysis.grad_cam.figure import draw_cam_figure
from mmav.analysis.grad_cam.pictures import CamRow
from mmav.datasets.transforms import LogMel
from mmav.errors import CheckpointError, MmavError

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (8, 32, 48, 3), dtype=np.uint8)
SEES = CamRow('sees $x$', True, FRAMES, RNG.random((8, 32, 48)), np.arange(8) / 4)
SOUND = dict(spectrogram=RNG.normal(size=(16, 40)), sound_cam=RNG.random((16, 40)), axes=LogMel(16, 40))
HEARS = CamRow('hears', False, **SOUND)
BOTH = CamRow('both', None, *SEES[2:5], **SOUND)


def texts_of(rows, path, monkeypatch, **options):
    figures = []
    real = figure.Figure
    monkeypatch.setattr(figure, 'Figure', lambda **kwargs: figures.append(real(**kwargs)) or figures[-1])
    draw_cam_figure(rows, path, **options)
    return [text.get_text() for text in figures[0].texts], figures[0]


def test_a_page_has_the_rows_of_each_model(tmp_path, monkeypatch):
    path = tmp_path / 'page.png'
    box = np.tile([0.1, 0.2, 0.5, 0.9], (8, 1))
    words, figure = texts_of([SEES, HEARS, BOTH], path, monkeypatch, title='c_$1', box=box)
    assert words == [
        'c_$1', 'what the model sees; framed: the event', 'sees $x$', 'both', 'what the model hears', 'hears', 'both',
    ]  # fmt: skip
    strips = [axes for axes in figure.axes if axes.images and axes.get_xlabel() == '' and not axes.get_ylabel()]
    assert len(strips) == 3 and len(figure.axes) == 3 + 2 * 3  # each spectrogram with its colour bar
    assert [text.get_text() for text in strips[0].texts] == [f'{k / 4:.2f} s' for k in range(8)]
    assert figure.axes[-2].get_xlabel() == 'seconds' and figure.axes[-1].get_ylabel() == 'map'
    # text and axes of the page lie in it, one below the other
    heights = [axes.get_position().y0 for axes in figure.axes[:3]]
    assert heights == sorted(heights, reverse=True) and figure.axes[-2].get_position().y0 > 0.03
    assert cv2.imread(str(path)).shape[1] == 1210


@pytest.mark.parametrize('row', [SEES, HEARS])
def test_a_page_of_one_sense(row, tmp_path, monkeypatch):
    words, _ = texts_of([row], tmp_path / 'page.png', monkeypatch, num_frames=3)
    assert words[1:] == ['what the model sees' if row is SEES else 'what the model hears', row.label]


def test_a_page_of_nothing(tmp_path):
    with pytest.raises(MmavError, match='neither video nor audio'):
        draw_cam_figure([CamRow('a')], tmp_path / 'page.png')
    with pytest.raises(CheckpointError):
        draw_cam_figure([SEES], tmp_path)
