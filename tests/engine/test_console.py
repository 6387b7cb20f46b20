import io
import sys

import pytest

from mmav.engine.console import tolerant_console


@pytest.mark.parametrize('errors', ['strict', 'surrogateescape'])
def test_a_console_of_few_letters(monkeypatch, errors):
    """The second is Python's choice in the locale C."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii', errors=errors)
    monkeypatch.setattr(sys, 'stdout', stream)
    tolerant_console()
    print('\u72d7\udcff', flush=True)
    assert stream.buffer.getvalue() == b'\\u72d7\\udcff\n'
