import sys

import pytest

from mmav.errors import MmavError
from mmav.web.browser import find_browser, open_browser


def test_browser_is_found_by_name(tmp_path, monkeypatch):
    for name in ('google-chrome', 'chromium', 'my-browser'):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CHROME', raising=False)
    assert find_browser() == str(tmp_path / 'chromium')
    (tmp_path / 'chromium').unlink()
    assert find_browser() == str(tmp_path / 'google-chrome')
    monkeypatch.setenv('CHROME', 'my-browser')
    assert find_browser() == str(tmp_path / 'my-browser')
    monkeypatch.setenv('CHROME', 'gone')
    assert find_browser() is None


def test_without_a_browser_the_remedy_is_named(tmp_path, monkeypatch):
    pytest.importorskip('playwright')
    monkeypatch.setenv('CHROME', 'gone')
    monkeypatch.setenv('PLAYWRIGHT_BROWSERS_PATH', str(tmp_path))
    with pytest.raises(MmavError, match='apt-get install chromium'), open_browser():
        pass
    monkeypatch.setitem(sys.modules, 'playwright.sync_api', None)
    with pytest.raises(MmavError, match='pip install playwright'), open_browser():
        pass
