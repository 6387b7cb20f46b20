"""docs/recipes.md: every key and value that its tables name on our side is that of the config.

And the learning rates of the configs are those of the systems' own code, written out.
"""

import ast
import inspect
import math
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

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


LENGTH = 200  # iterations of an epoch


def rates_of(name: str) -> list[float]:
    """The learning rate of each iteration, by the schedules of a config, stepped as ParamSchedulerHook steps them."""
    init_default_scope('mmav')
    cfg = config_of(ROOT / 'configs' / f'{name}.py')
    optimizer = {**cfg.optim_wrapper.optimizer, 'fused': False}
    optimizer = {key: value for key, value in optimizer.items() if key != 'fused' or 'Adam' in optimizer['type']}
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), dict(type='OptimWrapper', optimizer=optimizer))
    loop = SimpleNamespace(max_epochs=cfg.train_cfg.max_epochs, dataloader=[0] * LENGTH)
    runner = SimpleNamespace(optim_wrapper=wrapper, _train_loop=loop, train_loop=loop, train_dataloader=[0] * LENGTH)
    runner._build_param_scheduler = lambda *args: Runner._build_param_scheduler(runner, *args)
    schedulers = Runner.build_param_scheduler(runner, cfg.param_scheduler)
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(LENGTH):
            rates.append(wrapper.optimizer.param_groups[0]['lr'])
            wrapper.optimizer.step()
            for scheduler in schedulers:
                scheduler.by_epoch or scheduler.step()
        for scheduler in schedulers:
            scheduler.step() if scheduler.by_epoch else None
    return rates


def gong(lr: float, epochs: int, milestones: range, warm_up: int) -> list[float]:
    """src/traintest.py of AST, src/traintest_ft.py of CAV-MAE: a warm-up over iterations, halved after epochs."""
    found, now = [], lr
    for epoch in range(1, epochs + 1):
        for _ in range(LENGTH):
            step = len(found)
            found.append(min(1, step / warm_up) * lr if warm_up and step < warm_up else now)
        now *= 0.5 if epoch in milestones else 1
    return found


def mbt(lr: float, epochs: int, warm_up: float) -> list[float]:
    """scenic/train_lib_deprecated/lr_schedules.py: 'constant * cosine_decay * linear_warmup'."""
    warm, total = warm_up * LENGTH, epochs * LENGTH
    cosine = [0.5 * (1 + math.cos(math.pi * max(0, step - warm) / (total - warm))) for step in range(total)]
    return [lr * min(1, step / warm) * factor for step, factor in enumerate(cosine)]


def slowfast(lr: float, epochs: int, warm_up: int, *, start: float, end: float) -> list[float]:
    """slowfast/utils/lr_policy.py, COSINE_AFTER_WARMUP: by epoch, in fractions."""
    found = []
    for step in range(epochs * LENGTH):
        epoch = step / LENGTH
        cosine = end + (lr - end) * (math.cos(math.pi * (epoch - warm_up) / (epochs - warm_up)) + 1) / 2
        found.append(start + epoch * (lr - start) / warm_up if epoch < warm_up else cosine)
    return found


@pytest.mark.filterwarnings('ignore:Detected call of .scheduler.step')
@pytest.mark.parametrize(
    ('name', 'theirs'),
    [
        ('cav_mae/cav_mae_ft_vggsound', gong(1e-4, 10, range(2, 1000), 0)),
        ('ast/ast_recipe_audioset20k', gong(5e-5, 25, range(10, 1000, 5), 1000)),
        # 1000 iterations of its warm-up are less than an epoch of AS-2M
        ('ast/ast_recipe_audioset', None),
        ('mbt/mbt_recipe_audioset20k', mbt(0.5, 50, 2.5)),
        ('mvitv2/mvitv2_recipe_kinetics_sounds', slowfast(1e-4, 200, 30, start=1e-6, end=1e-6)),
    ],
    ids=['CAV-MAE', 'AST-20K', 'AST-2M', 'MBT', 'SlowFast'],
)
def test_learning_rates_are_those_of_the_systems(name, theirs, monkeypatch):
    if theirs is None:
        monkeypatch.setattr(f'{__name__}.LENGTH', 1500)
        theirs = gong(1e-5, 5, range(2, 1000), 1000)
    found = rates_of(name)
    assert len(found) == len(theirs)
    # a warm-up of MMEngine's ends an iteration earlier
    assert found == pytest.approx(theirs, abs=max(theirs) * 3e-3)
