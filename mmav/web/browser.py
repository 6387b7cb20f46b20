"""A headless browser that visits the page of demo/web_demo.py, for its tests and its screenshot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmav.errors import MmavError
from mmav.outputs import write_output

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
# no sandbox, as containers run as root; and no requests to other hosts
FLAGS = (
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-quic',
)
# a moving picture and a beep in place of a camera and a microphone, and nobody to ask
FAKE_CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')
REMEDY = "apt-get install chromium, or 'playwright install chromium', or set CHROME to a browser"


def find_browser() -> str | None:
    """The path of Chromium or Chrome: the variable CHROME, else what is installed, else None."""
    named = os.environ.get('CHROME')
    return next((path for path in map(shutil.which, [named] if named else NAMES) if path), None)


@contextmanager
def open_browser(flags: Sequence[str] = ()) -> Iterator[Any]:
    """Starts a browser, a ``playwright.sync_api.Browser``.

    Args:
        flags: In addition to :data:`FLAGS`.

    Raises:
        MmavError: There is no browser, or playwright is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MmavError('driving a browser needs playwright: pip install playwright') from error
    with sync_playwright() as playwright:
        path = find_browser() or playwright.chromium.executable_path
        if not Path(path).is_file():
            raise MmavError(f'there is no browser: {REMEDY}')
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def choose_file(page: Any, path: str | Path) -> None:
    """Uploads a video on the page, in place of the one that is there."""
    clear = page.locator('#video [aria-label=Clear]')
    if clear.count():
        clear.click()
    page.locator('#video input[type=file]').set_input_files(str(path))
    page.locator('#video video').wait_for()


def take_screenshot(url: str, clip: str | Path, out_file: str | Path, *, size: tuple[int, int] = (1200, 960)) -> None:
    """Saves a screenshot of the page after it has classified a clip.

    Args:
        url: Address of the page.
        clip: The clip.
        out_file: The PNG file to write.
        size: Width and height of the browser's window in pixels; the whole page is saved, however high.

    Raises:
        MmavError: There is no browser, or the clip was refused.
    """
    with open_browser() as browser:
        page = browser.new_page(viewport=dict(width=size[0], height=size[1]))
        page.goto(url)
        choose_file(page, clip)
        page.locator('#classify').click()
        page.locator('#answer :is(.mmav-best, .mmav-error)').wait_for(timeout=120000)
        if page.locator('#answer .mmav-error').count():
            raise MmavError(f'{clip}: {page.locator("#answer").inner_text()}')
        page.locator('#pictures img').first.wait_for(timeout=120000)
        page.wait_for_timeout(1500)  # until the progress indicator has faded
        write_output(out_file, page.screenshot(full_page=True, type='png'))
