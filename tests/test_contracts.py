"""Rules that hold for the whole package; nothing is listed by hand."""

import inspect
from pathlib import Path

import pytest
from mmengine.registry import Registry

from mmav import registry

ROOT = Path(__file__).parents[1]
# tests/a/test_b.py for mmav/a/b.py, and tests/benchmarks/test_b.py for benchmarks/b.py
MODULES = sorted(
    path.relative_to(top)
    for top, folder in ((ROOT / 'mmav', ROOT / 'mmav'), (ROOT, ROOT / 'benchmarks'))
    for path in folder.rglob('*.py')
    if path.name != '__init__.py'
)
REGISTRIES = [item for item in vars(registry).values() if isinstance(item, Registry) and item.scope == 'mmav']


def ours() -> list:
    found = []
    for place in REGISTRIES:
        place.import_from_location()
        found += [pytest.param(part, id=name) for name, part in place.module_dict.items() if _is_ours(part)]
    return found


def _is_ours(part: object) -> bool:
    return part.__module__.split('.')[0] == 'mmav'


@pytest.mark.parametrize('module', MODULES, ids=str)
def test_every_module_has_its_test(module):
    assert (ROOT / 'tests' / module.with_name(f'test_{module.name}')).is_file()


@pytest.mark.parametrize('part', ours())
def test_every_registered_part_says_what_it_is(part):
    assert inspect.getdoc(part) and vars(part).get('__doc__', inspect.getdoc(part))
    signature = inspect.signature(part)
    takes = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    inherited = inspect.isclass(part) and '__init__' not in vars(part)
    if takes and not inherited:
        assert 'Args:' in inspect.getdoc(part)
        undocumented = [name for name in takes if f'{name}:' not in inspect.getdoc(part).replace(', ', ': ')]
        assert not undocumented


def test_importing_mmav_brings_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, mmav; print([m for m in ('torch', 'mmengine', 'av', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == '[]'
