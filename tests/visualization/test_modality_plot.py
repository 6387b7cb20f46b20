import cv2
import numpy as np
import pytest
from matplotlib import figure as figures_of

from mmav.errors import MmavError
from mmav.visualization.modality_plot import colour_of, draw_modalities

NAMES = ('video', 'audio')
CONDITIONS = dict(both='both', video='video alone', audio='audio alone', shuffled='shuffled')
CASES = ('either', 'first', 'second', 'synergy', 'confusion', 'never')
SHARES = (0.1, 0.2, 0.3, 0.25, 0.05, 0.1)


def part(name='label', classes=3):
    scores = {
        key: dict(clips=9, score=value, interval=[value - 0.1, value + 0.1])
        for key, value in zip(CONDITIONS, (0.9, 0.5, 0.4, 0.3), strict=True)
    }
    rows = [
        dict(zip(('class', 'clips', 'both', *NAMES), (f'c{k}', k, 0.9, 0.5, 0.1), strict=True)) for k in range(classes)
    ]
    cases = {key: dict(share=share) for key, share in zip(CASES, SHARES, strict=True)}
    return dict(part=name, clips=9, scores=scores, majority=0.25, cases=cases, classes=rows)


def drawn(parts, path, monkeypatch):
    made, real = [], figures_of.Figure
    monkeypatch.setattr(figures_of, 'Figure', lambda **kwargs: made.append(real(**kwargs)) or made[-1])
    draw_modalities(parts, path, names=NAMES, conditions=CONDITIONS, cases={k: k for k in CASES}, title='a $model$')
    return made[0]


def test_bars_cases_and_classes(tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    figure = drawn([part()], path, monkeypatch)
    scores, cases, classes = figure.axes
    assert [bar.get_height() for bar in scores.patches] == [0.9, 0.5, 0.4, 0.3]
    assert [label.get_text() for label in scores.get_xticklabels()] == list(CONDITIONS.values())
    np.testing.assert_allclose([bar.get_width() for bar in cases.patches], SHARES)
    np.testing.assert_allclose(cases.patches[-1].get_x(), 0.9)
    assert [label.get_text() for label in classes.get_yticklabels()] == ['c0  (0)', 'c1  (1)', 'c2  (2)']
    points = {
        each.get_label(): each.get_offsets()[:, 0].tolist()
        for each in classes.collections
        if each.get_label()[0] != '_'
    }
    assert points == {'video alone': [0.5] * 3, 'audio alone': [0.1] * 3, 'both': [0.9] * 3}
    assert cv2.imread(str(path)).shape[1] == 1430
    (line,) = scores.lines[-1:]
    assert list(line.get_ydata()) == [0.25, 0.25]


def test_a_row_for_each_part(tmp_path, monkeypatch):
    figure = drawn([part('verb', 40), part('action', 0)], tmp_path / 'a.pdf', monkeypatch)
    assert len(figure.axes) == 3 + 2
    assert len(figure.axes[2].get_yticklabels()) == 30
    assert '30 of 40 classes' in figure.axes[2].get_title(loc='left')
    assert figure.axes[3].get_title(loc='left').startswith('action: 9 clips')


def test_wrong_input(tmp_path):
    options = dict(names=NAMES, conditions=CONDITIONS, cases={})
    with pytest.raises(MmavError, match='there are no figures'):
        draw_modalities([], tmp_path / 'a.png', **options)
    with pytest.raises(MmavError, match='not the name of a picture'):
        draw_modalities([part()], tmp_path / 'a.txt', **options)
    assert colour_of('depth', ('depth', 'audio')) != colour_of('audio', ('depth', 'audio'))
