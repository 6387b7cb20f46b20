from mmengine import registry as mmengine_registry
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.registry import DefaultScope, Registry

from mmav import registry
from mmav.engine import CheckpointHook

REGISTRIES = {
    name: item for name, item in vars(registry).items() if isinstance(item, Registry) and not name.startswith('MM')
}


def test_every_registry_is_a_child_of_mmengines_of_the_same_name():
    for name, child in REGISTRIES.items():
        parent = getattr(mmengine_registry, {'EVALUATORS': 'EVALUATOR'}.get(name, name))
        assert child.parent is parent and child.scope == 'mmav'
        assert parent.children['mmav'] is child


def test_look_up_fills_the_registry_by_itself():
    for name, part in (('MODELS', 'AVClassifier'), ('DATASETS', 'AVDataset'), ('TRANSFORMS', 'LoadClip')):
        assert REGISTRIES[name].get(part).__module__.startswith('mmav.')
    for name, part in (('METRICS', 'Accuracy'), ('HOOKS', 'SeedHook'), ('RUNNERS', 'AVRunner')):
        assert REGISTRIES[name].get(part).__module__.startswith('mmav.')


def test_ours_come_first_and_mmengines_next():
    assert registry.HOOKS.get('CheckpointHook') is CheckpointHook
    assert registry.HOOKS.get('mmengine.CheckpointHook') is MMEngineCheckpointHook
    assert registry.OPTIMIZERS.get('AdamW') is mmengine_registry.OPTIMIZERS.get('AdamW') is not None


def test_mmengine_finds_ours_by_default_scope():
    with DefaultScope.overwrite_default_scope('mmav'):
        assert isinstance(mmengine_registry.HOOKS.build(dict(type='CheckpointHook')), CheckpointHook)
