"""What `make docs`, which builds the site and checks its pages and links, does not see: README and the version."""

import ast
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


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ('*.md', 'docs/*.md', 'configs/*/*.md', 'tools/data/*/*.md', 'projects/*/*.md')
    for path in ROOT.glob(pattern)
)
# files that CONTRIBUTING.md tells the reader to write, and those of its rules
INVENTED = {
    'mmav/models/necks/product.py', 'tests/models/necks/test_product.py', 'mmav/a/b.py', 'tests/a/test_b.py',
}  # fmt: skip


@pytest.mark.parametrize('page', PAGES)
def test_what_a_page_names_exists(page):
    text = (ROOT / page).read_text()
    code = ' '.join(re.findall(r'`[^`]+`|^    .*', text, re.MULTILINE))
    commands = set(re.findall(r'(?:`|^ +|&& |-m )mmav ([a-z][a-z-]+)(?=[ `]|$)', text, re.MULTILINE))
    assert commands <= {*TOOLS, 'configs'}
    files = set(re.findall(r'(?<![\w/])(?:mmav|tests|tools|demo|benchmarks)/[\w/]+\.(?:py|sh)\b', text))
    assert not [name for name in files - INVENTED if not (ROOT / name).is_file()]
    modules = re.findall(r'(?:from|import) (mmav[\w.]*)', code)
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def written_in(module: Path) -> set[str]:
    """Names at the top of a module, as the API reference finds them: without running it."""
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split('.')[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def is_written(name: str) -> bool:
    """Whether the sources have this dotted name: a package, a module, or what is written in one."""
    place, *rest = name.split('.')
    path = ROOT / place
    while rest and ((path / rest[0]).is_dir() or (path / f'{rest[0]}.py').is_file()):
        path /= rest.pop(0)
    module = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    return not rest or rest[0] in written_in(module)


def test_full_names_in_docstrings_are_those_of_the_place_where_things_are_written():
    roles = re.compile(r':(?:func|class|meth|mod|attr|data|exc):`~?(mmav[\w.]*)(?:\(\))?`')
    named = [(path, name) for path in (ROOT / 'mmav').rglob('*.py') for name in roles.findall(path.read_text())]
    assert len(named) > 100
    assert not [f'{path.relative_to(ROOT)}: {name}' for path, name in named if not is_written(name)]
