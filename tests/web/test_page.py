import re
import sys

import numpy as np
import pytest

from mmav.errors import MmavError
from mmav.web import page as web_page
from mmav.web.demo import Answer


def answer(windows=1, label='dog'):
    scores = np.tile([[0.2, 0.7, 0.1]], (windows, 1))
    predictions = [dict(label=label, index=1, score=0.7), dict(label='cat', index=0, score=0.2)]
    spans = [(2.0 * k, 2.0 * k + 2) for k in range(windows)]
    return Answer('clip.mp4', 'video and audio', predictions, spans, dict(label=scores), ['This & that.'])


def test_answer_shows_labels_scores_and_notes():
    html = web_page.answer_html(answer())
    assert re.findall(r'class="name">(.*?)<', html) == ['dog', 'cat']
    assert re.findall(r'width:([\d.]+)%', html) == ['70.0', '20.0'] and '70.0 %' in html
    assert 'This &amp; that.' in html


def test_several_labels_are_named_together():
    several = answer()
    several.labels = [dict(label='dog', index=1, score=0.7), dict(label='a & b', index=2, score=0.6)]
    assert '<div class="mmav-best">dog | a &amp; b</div>' in web_page.answer_html(several)
    assert web_page.answer_html(several).count('class="mmav-bar said"') == 1  # of the two bars
    several.labels = []
    assert 'mmav-bar said' not in web_page.answer_html(several)
    assert 'None of the classes is likely enough.' in web_page.answer_html(several)


def test_names_are_text_and_never_code():
    evil = '<img src=x onerror=alert(1)>'
    assert '<img' not in web_page.answer_html(answer(label=evil)) + web_page._error(evil) + web_page._note(evil)
    assert '&lt;img src=x' in web_page.answer_html(answer(label=evil))


def test_choices_of_class_and_window():
    labels = dict(label=['cat', 'dog', 'owl'])
    assert web_page._targets(answer(), labels) == [('dog', 'label:1'), ('cat', 'label:0'), ('owl', 'label:2')]
    pair = answer()
    pair.scores = dict(verb=np.array([[0.9, 0.1]]), noun=np.array([[0.3, 0.7]]))
    assert web_page._targets(pair, dict(verb=['cut', 'wash'], noun=['egg', 'pan'])) == [
        ('verb: cut', 'verb:0'),
        ('verb: wash', 'verb:1'),
        ('noun: pan', 'noun:1'),
        ('noun: egg', 'noun:0'),
    ]
    assert web_page._windows(answer(2)) == ['the strongest', '0.0 to 2.0 s', '2.0 to 4.0 s']


def test_examples_are_the_first_clips_of_a_folder(tmp_path):
    folder, uploads = tmp_path / 'clips', tmp_path / 'uploads'
    folder.mkdir()
    uploads.mkdir()
    with pytest.raises(MmavError, match='no clips in .*clips. for --examples'):
        web_page.copy_examples(str(folder), str(uploads))
    for name in ('b.mp4', 'A.WAV', 'notes.txt', *(f'c{k}.mp4' for k in range(9))):
        (folder / name).write_text(name)
    found = web_page.copy_examples(str(folder), str(uploads))
    names = ['A.WAV', 'b.mp4', *(f'c{k}.mp4' for k in range(6))]
    assert found == [str(uploads / 'examples' / name) for name in names]
    assert [(uploads / 'examples' / name).read_text() for name in names] == names
    with pytest.raises(MmavError, match='no folder .*gone. for --examples'):
        web_page.copy_examples(str(tmp_path / 'gone'), str(uploads))


def test_without_gradio_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with pytest.raises(MmavError, match=r'pip install -r requirements/optional\.txt'):
        web_page.import_gradio()
