"""What `make docs`, which builds the site and checks its pages and links, does not see: README and the version."""

import importlib.util
import re
from pathlib import Path

import pytest

from mmav import __version__
from mmav.__main__ import TOOLS
from tests.toys import ROOT

LINK = re.compile(r'\]\(([^)\s]+)\)')


def headings(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub names them."""
    lines = re.findall(r'^#+ (.*)', path.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', line.lower()).replace(' ', '-') for line in lines}


def test_links_of_the_readme_lead_somewhere():
    links = LINK.findall((ROOT / 'README.md').read_text())
    assert len(links) > 20
    for link in links:
        name, _, anchor = link.partition('#')
        assert (ROOT / name).is_file(), link
        assert not anchor or anchor in headings(ROOT / name), link


def test_every_page_is_found_from_the_readme_or_the_first_page():
    linked = {Path(link.partition('#')[0]).name for page in ('README.md', 'docs/index.md', 'docs/start.md')
              for link in LINK.findall((ROOT / page).read_text())}  # fmt: skip
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')} - {'index.md', 'data_speed.md'}  # from own_clips.md
    assert pages <= linked


def test_the_newest_version_of_the_changelog_is_the_packages():
    versions = re.findall(r'^## (.+?)(?: - (\d{4}-\d\d-\d\d))?$', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE)
    released = [version for version, date in versions if date]
    assert released[0] == __version__
    assert released == sorted(released, key=lambda text: tuple(map(int, text.split('.'))), reverse=True)


@pytest.mark.parametrize('page', sorted((ROOT / 'docs').glob('*.md')), ids=lambda path: path.name)
def test_what_a_page_names_exists(page):
    text = page.read_text()
    code = ' '.join(re.findall(r'`[^`]+`|^    .*', text, re.MULTILINE))
    commands = set(re.findall(r'\bmmav ([a-z][a-z-]+)(?=[ `]|$)', code))
    assert commands <= {*TOOLS, 'configs'}
    files = re.findall(r'(?<![\w/])(?:mmav|tests|tools|demo|benchmarks)/[\w/]+\.(?:py|sh)\b', text)
    assert not [name for name in files if not (ROOT / name).is_file()]
    modules = re.findall(r'(?:from|import) (mmav[\w.]*)', code)
    assert not [name for name in modules if importlib.util.find_spec(name) is None]
