"""Arrows between modules point downwards only, and nowhere in a circle; the rules are tested on small packages."""

import runpy
from types import SimpleNamespace

import pytest
from PIL import Image

from mmav.errors import MmavError
from tests.toys import ROOT, run_tool

TOOL = 'docs/import_graph.py'
tool = SimpleNamespace(**runpy.run_path(str(ROOT / 'tools' / TOOL)))
# of the library's modules
MOST_OF_MODELS = 82


@pytest.fixture(scope='module')
def graph():
    return tool.import_graph(ROOT / 'mmav')


def test_every_room_has_its_row(graph):
    assert {tool.room_of(name) for name in graph} == set(tool.ROW_OF)


def test_arrows_point_downwards(graph):
    assert tool.arrows_up(graph) == []


def test_there_is_no_circle(graph):
    assert tool.circle(graph) == ''


def test_models_bring_little(graph):
    modules = tool.reached('mmav.models', graph)
    assert not {tool.room_of(name) for name in modules} & {'engine', 'datasets'}
    assert len(modules) <= MOST_OF_MODELS, sorted(modules)


def test_it_is_drawn(tmp_path, capsys):
    assert run_tool(TOOL, '--out', tmp_path / 'a.png') == 0
    assert 'every arrow points downwards' in capsys.readouterr().out
    with Image.open(tmp_path / 'a.png') as picture:
        assert len(set(picture.convert('L').getdata())) > 50


@pytest.fixture
def package(tmp_path):
    """Writes modules of a package, and gives its graph."""

    def make(modules):
        for name, text in modules.items():
            path = tmp_path / 'mmav' / f'{name}.py'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in {tmp_path / 'mmav', *(path.parent for path in (tmp_path / 'mmav').rglob('*.py'))}:
            (folder / '__init__.py').touch()
        return tool.import_graph(tmp_path / 'mmav')

    return make


def test_an_arrow_up_inside_a_function_is_found(package):
    found = package(
        {'models/a': 'def f():\n    from mmav.engine import b\n', 'engine/b': 'import mmav.errors', 'errors': ''}
    )
    assert tool.arrows_up(found) == ['mmav.models.a imports mmav.engine.b, which is not below it']


def test_rooms_of_one_row_know_nothing_of_each_other(package):
    found = package({'models/a': 'import mmav.datasets.b', 'datasets/b': ''})
    assert tool.arrows_up(found) == ['mmav.models.a imports mmav.datasets.b, which is not below it']


def test_a_circle_through_a_package_is_found(package):
    """a imports b, which has its package imported first, and that imports a."""
    found = package({'config/a': 'from mmav.models import b', 'models/b': ''})
    assert tool.circle(found) == ''
    found = package({'models/__init__': 'import mmav.config.a'})
    assert tool.circle(found).startswith('a circle of imports: mmav.')


def test_relative_imports_are_refused(package):
    with pytest.raises(MmavError, match=r'mmav.models.a, line 1: the import is relative; write the whole name'):
        package({'models/a': 'from . import b', 'models/b': ''})
