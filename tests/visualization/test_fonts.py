"""Every text of a picture is legible: in a font that has its letters, or with escapes where none has."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from mmengine.logging import MMLogger
from PIL import Image

from mmav.visualization import fonts
from mmav.visualization.captions import draw_captions, drawable, fitting_font
from mmav.visualization.error_plots import draw_confusion
from mmav.visualization.figures import figure_bytes, make_legible

NAMES = ['狗叫', 'кошка', 'Kätzchen', 'חתול', '🐶 dog', 'costs $5, not $6']


@pytest.fixture(autouse=True)
def _only_fonts_of_matplotlib(monkeypatch):
    """The fonts that come with matplotlib, whatever the machine has."""
    own = [entry for entry in font_manager.fontManager.ttflist if '/mpl-data/' in str(entry.fname).replace('\\', '/')]
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', own)
    monkeypatch.setattr(fonts, '_find_new_fonts', lambda: None)
    monkeypatch.setattr(fonts, '_told', set())


@pytest.fixture(scope='module')
def chinese(tmp_path_factory):
    """A font of few letters: a dog and its bark have the shapes of Q and W."""
    from fontTools.subset import Subsetter
    from fontTools.ttLib import TTFont

    font = TTFont(font_manager.findfont('DejaVu Sans'))
    subsetter = Subsetter()
    subsetter.populate(text='QW 0.5')
    subsetter.subset(font)
    for table in font['cmap'].tables:
        if table.isUnicode():
            table.cmap.update({ord('狗'): table.cmap[ord('Q')], ord('叫'): table.cmap[ord('W')]})
    for name in font['name'].names:
        name.string = 'Toy Chinese' if name.nameID in (1, 4, 16) else 'ToyChinese'
    path = tmp_path_factory.mktemp('font') / 'toy.ttf'
    font.save(path)
    return path


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(fonts, 'print_log', lambda message, *args, **kwargs: told.append(message))
    return told


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figure_bytes(figure, dpi=60))).convert('L'))


def page(words):
    figure = Figure(figsize=(3, 1))
    figure.text(0.05, 0.4, words, fontsize=16)
    return figure


def test_letters_that_no_font_has_become_escapes_and_it_is_said_once(warnings):
    for _ in range(2):
        assert fonts.font_of('a 狗叫') == (fonts.usual_font().path, 'a \\u72d7\\u53eb')
    assert fonts.font_of('🐶 dog')[1] == '\\U0001f436 dog'
    assert warnings[0].startswith('no installed font has the letters 叫狗: they are drawn as escapes, such as \\u53eb')
    assert 'fonts-noto-cjk' in warnings[0] and 'fonts-symbola' in warnings[1] and len(warnings) == 2


def test_what_dejavu_has_is_left_alone(warnings):
    for words in ('кошка', 'Kätzchen', 'σκύλος', 'قطة', 'חתול', 'a → b', 'e\u0301', 'a\u200db\ufe0f\tc'):
        assert fonts.font_of(words) == (fonts.usual_font().path, words)
    assert not warnings


def test_boxes_and_signs_of_other_fonts_are_no_letters():
    """matplotlib's Last Resort font has a box for every letter, and its cm fonts have signs in the place of letters."""
    chosen, nowhere = fonts.covering_fonts('狗ऄ∑')
    assert nowhere == {'狗', 'ऄ'}
    assert not [font for font in chosen if font.family.startswith(('Last Resort', 'cm'))]


def test_an_installed_font_is_chosen(chinese, warnings):
    font_manager.fontManager.addfont(chinese)
    assert fonts.font_of('狗叫') == (str(chinese), '狗叫')
    # no font has all: as much as can be
    assert fonts.font_of('狗叫 ж') == (str(chinese), '狗叫 \\u0436')
    assert fonts.font_of('狗 barks') == (fonts.usual_font().path, '\\u72d7 barks')
    figure = page('狗叫 and Kätzchen')
    make_legible(figure)
    assert figure.texts[0].get_fontfamily()[-1] == 'Toy Chinese' and figure.texts[0].get_text().startswith('狗')
    # in the shapes that the font has
    assert np.array_equal(pixels(page('狗叫')), pixels(page('QW')))


def test_one_that_was_installed_since_matplotlib_looked(chinese, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: [str(chinese), '/nowhere.ttf'])
    fonts._find_new_fonts.cache_clear()
    assert fonts.font_of('狗叫')[1] == '狗叫'
    fonts._find_new_fonts.cache_clear()


def test_tick_labels_legends_and_titles(warnings):
    figure = Figure(layout='constrained')
    axes = figure.subplots()
    axes.set_yticks(range(len(NAMES)), NAMES, fontsize=7)
    axes.plot([1, 2], label=NAMES[0])
    axes.set_title(NAMES[0])
    axes.set_xscale('log')
    figure.legend()
    figure_bytes(figure)
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert shown.count('\\u72d7\\u53eb') > 2 and NAMES[0] not in shown
    labels = axes.get_yticklabels()
    assert [label.get_text() for label in labels][1:4] == NAMES[1:4]
    assert {label.get_fontsize() for label in labels} == {7}
    # dollars are no formula, and the numbers at a logarithmic axis still are
    assert not labels[-1].get_parse_math()
    assert [label for label in axes.get_xticklabels() if '\\math' in label.get_text() and label.get_parse_math()]
    assert len(warnings) == 2


@pytest.mark.filterwarnings('error:Glyph')
def test_pictures_of_classes_in_any_script(tmp_path):
    counts = np.eye(len(NAMES), len(NAMES) + 1, dtype=int) * 3 + 1
    for suffix in ('png', 'pdf', 'svg'):
        draw_confusion(counts, NAMES, tmp_path / f'confusion.{suffix}')
    assert '\\u72d7\\u53eb' not in NAMES


def test_captions(chinese, warnings):
    frame = np.zeros((240, 320, 3), np.uint8)
    escapes = draw_captions(frame, [('狗叫', 0.5)])
    assert np.array_equal(escapes, draw_captions(frame, [('\\u72d7\\u53eb', 0.5)])) and warnings
    font_manager.fontManager.addfont(chinese)
    assert drawable('狗\n叫') == '狗 叫'
    mask = fitting_font('狗叫', 20).getmask('狗叫')
    assert bytes(mask) == bytes(fitting_font('狗叫', 20).getmask('QW'))


def test_scripts_from_right_to_left(warnings, monkeypatch):
    frame = np.zeros((240, 320, 3), np.uint8)
    drawn = draw_captions(frame, [('שלום', 0.0)])
    # ends with its first letter, where letters are ordered; else the log says that they are not
    reversed_ = draw_captions(frame, [('שלום'[::-1], 0.0)])
    assert not np.array_equal(drawn, reversed_)
    monkeypatch.setattr('mmav.visualization.captions.features.check', lambda name: False)
    draw_captions(frame, [('قطة', 0.25)])
    draw_captions(frame, [('קטן', 0.25)])
    assert len(warnings) == 1 and 'one by one from left to right' in warnings[0]


def test_a_log_that_is_read(capsys):
    MMLogger._instance_dict.clear()
    fonts.escaped('狗', {'狗'})
    assert 'install a font that has them' in ''.join(capsys.readouterr())
