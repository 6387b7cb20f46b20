import pytest
from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

from mmav.engine import config_text

pytestmark = pytest.mark.usefixtures('formatted_configs')
STYLE = dict(based_on_style='pep8', split_before_expression_after_opening_paren=True)
TEXT = 'a = dict( ' + ', '.join(f'b{k}=1' for k in range(14)) + ')\n'


def test_gives_what_yapf_gives():
    assert config_text.format_code(TEXT, style_config=STYLE) == FormatCode(TEXT, style_config=STYLE)
    other = dict(STYLE, column_limit=120)
    assert config_text.format_code(TEXT, style_config=other) == FormatCode(TEXT, style_config=other)
    assert config_text.format_code(TEXT, style_config=other) != config_text.format_code(TEXT, style_config=STYLE)


def test_a_config_is_formatted_once_until_it_changes(monkeypatch):
    calls = []

    def counted(text, **options):
        calls.append(text)
        return FormatCode(text, **options)

    monkeypatch.setattr(config_text, 'FormatCode', counted)
    cfg = Config(dict(model=dict(type='A'), steps=[1, 2]))
    text = cfg.pretty_text
    assert cfg.pretty_text == cfg.copy().pretty_text == text and len(calls) == 1
    cfg.model.type = 'B'
    assert cfg.pretty_text == text.replace('A', 'B') and len(calls) == 2
