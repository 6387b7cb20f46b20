"""Rules that hold for the whole package; nothing is listed by hand."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from mmengine.registry import Registry

import mmav
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


def public_parts() -> list:
    """The functions and classes that the package's modules define, without those whose names begin with _."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(mmav.__path__, 'mmav.')
               if not found.name.endswith('__main__')]  # fmt: skip
    return [
        part
        for module in modules
        for name, part in vars(module).items()
        if not name.startswith('_')
        and (inspect.isclass(part) or inspect.isfunction(part))
        and part.__module__ == module.__name__
    ]


def documented(part: object) -> list[str] | None:
    """The names in the Args section of a docstring, without stars; None if there is no such section."""
    lines = (inspect.getdoc(part) or '').splitlines()
    if 'Args:' not in lines:
        return None
    names = []
    for line in lines[lines.index('Args:') + 1 :]:
        if line and not line.startswith(' '):
            break  # the next section
        if found := re.match(r' {4}([*\w]+(?:, [*\w]+)*):', line):  # deeper lines go on with a description
            names += [name.lstrip('*') for name in found[1].split(', ')]
    return names


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
        assert set(takes) <= set(documented(part) or ())


def test_all_that_is_public_is_documented():
    parts = public_parts()
    assert len(parts) > 300
    assert [f'{part.__module__}.{part.__qualname__}' for part in parts if not part.__doc__] == []


def test_args_sections_name_the_arguments():
    """All of them where there is such a section, and none that the function does not have."""
    wrong = []
    for part in public_parts():
        names = documented(part)
        if names is None or (inspect.isclass(part) and '__init__' not in vars(part)):
            continue
        takes = [name for name in inspect.signature(part).parameters if not name.startswith('_')]
        if sorted(names) != sorted(takes):
            wrong.append((part.__module__, part.__qualname__, sorted({*names} ^ {*takes})))
    assert wrong == []


def test_only_the_args_section_counts():
    def example(one, *two, **three):
        """Takes ``four``.

        Args:
            one: First.
                inner: Not an argument.
            two, three: Both.

        Raises:
            ValueError: five.
            six: Not an argument.
        """

    assert documented(example) == ['one', 'two', 'three'] and documented(public_parts) is None


def test_importing_mmav_brings_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, mmav; print([m for m in ('torch', 'mmengine', 'av', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == '[]'
