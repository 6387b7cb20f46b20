"""docs/recipes.md: every key and value that its tables name on our side is that of the config."""

import ast
import inspect
import re

import pytest

from mmav import registry
from tests.configs.digests import ROOT, config_of

PAGE = ROOT / 'docs' / 'recipes.md'
HEADER = '| option | theirs | key here | here | |'
REGISTRIES = (registry.MODELS, registry.TRANSFORMS, registry.DATASETS, registry.WEIGHT_INITIALIZERS)


def sections() -> dict[str, tuple[list, list]]:
    """Title -> the configs that a section of the page links to, and the cells of its table's rows."""
    found = {}
    for section in PAGE.read_text().split('\n### ')[1:]:
        text, _, table = section.partition(HEADER)
        paths = [ROOT / path for path in re.findall(r'\(\.\./(configs/\w+/\w+\.py)\)', text)]
        # a bar in a cell would be escaped
        rows = [re.split(r'(?<!\\)\|', line)[1:-1] for line in table.splitlines() if line.startswith('| ')]
        found[section.split('\n')[0]] = (paths, [[cell.strip() for cell in row] for row in rows])
    return found


def value_of(cfg, key: str):
    """The value under a dotted key, or the default of the part that would have it."""
    *places, last = key.split('.')
    owner = cfg
    for place in places:
        owner = owner[int(place)] if isinstance(owner, (list, tuple)) else owner[place]
    if isinstance(owner, dict) and last not in owner:
        kinds = [found for place in REGISTRIES if (found := place.get(owner['type'])) is not None]
        default = inspect.signature(kinds[0]).parameters[last].default if kinds else inspect.Parameter.empty
        assert default is not inspect.Parameter.empty, key
        return default
    return owner[int(last)] if isinstance(owner, (list, tuple)) else owner[last]


def test_there_is_a_table_for_each_system():
    assert list(sections()) == ['CAV-MAE', 'MBT', 'SlowFast', 'AST']
    assert all(paths and len(rows) > 20 for paths, rows in sections().values())


@pytest.mark.parametrize('title', ['CAV-MAE', 'MBT', 'SlowFast', 'AST'])
def test_keys_and_values_are_those_of_the_configs(title):
    paths, rows = sections()[title]
    configs = [config_of(path) for path in paths]
    for option, _, key, here, *_ in rows:
        if key == '-':
            assert not here, option
            continue
        (key,) = re.fullmatch(r'`([\w.]+)`', key).groups()
        values = [ast.literal_eval(word) for word in re.findall(r'`([^`]+)`', here)]
        assert len(values) in (1, len(configs)), f'{option}: {here}'
        for cfg, value in zip(configs, values * (len(configs) if len(values) == 1 else 1), strict=True):
            found = value_of(cfg, key)
            found, value = ([*each] if isinstance(each, (list, tuple)) else each for each in (found, value))
            assert found == pytest.approx(value, rel=1e-12) if isinstance(value, float) else found == value, (
                f'{title}, {option}: {key}'
            )


def test_a_wrong_table_is_noticed():
    cfg = config_of(ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py')
    assert value_of(cfg, 'model.head.dropout') == 0.0  # a default
    for key in ('model.head.dropuot', 'optim_wrapper.lr', 'custom_hooks.0.begin'):
        with pytest.raises((KeyError, AttributeError, AssertionError)):
            value_of(cfg, key)
