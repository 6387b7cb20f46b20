import inspect

import pytest
from mmengine import registry as mmengine_registry
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.registry import DefaultScope, Registry

from mmav import engine, registry
from mmav.config.signatures import call_signature
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
    for name, part in (('LOOPS', 'AVTrainLoop'), ('OPTIM_WRAPPERS', 'OptimWrapper'), ('FUNCTIONS', 'av_collate')):
        assert REGISTRIES[name].get(part).__module__.startswith('mmav.')
    for name, part in (('WEIGHT_INITIALIZERS', 'PublicWeights'), ('DATA_SAMPLERS', 'ResumableSampler')):
        assert REGISTRIES[name].get(part).__module__.startswith('mmav.')


def test_ours_come_first_and_mmengines_next():
    assert registry.HOOKS.get('CheckpointHook') is CheckpointHook
    assert registry.HOOKS.get('mmengine.CheckpointHook') is MMEngineCheckpointHook
    assert registry.OPTIMIZERS.get('AdamW') is mmengine_registry.OPTIMIZERS.get('AdamW') is not None


def test_mmengine_finds_ours_by_default_scope():
    with DefaultScope.overwrite_default_scope('mmav'):
        assert isinstance(mmengine_registry.HOOKS.build(dict(type='CheckpointHook')), CheckpointHook)


def _parameters(part):
    return {
        name: parameter
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def shadowing():
    for child in REGISTRIES.values():
        child.import_from_location()
        for name, ours in child.module_dict.items():
            theirs = child.parent.module_dict.get(name)
            if theirs is not None and ours.__module__.startswith('mmav.') and theirs.__module__.startswith('mmengine.'):
                yield pytest.param(ours, theirs, id=name)


def test_some_names_are_those_of_mmengine():
    names = {case.id for case in shadowing()}
    assert {'CheckpointHook', 'EMAHook', 'OptimWrapper', 'RepeatDataset'} <= names
    assert not any(name.startswith('AV') for name in names)


@pytest.mark.parametrize(('ours', 'theirs'), shadowing())
def test_what_has_the_name_of_an_mmengine_type_can_stand_in_for_it(ours, theirs):
    """A subclass that takes the same arguments by name, and asks for none that MMEngine's does not."""
    assert issubclass(ours, theirs) and ours.__name__ == theirs.__name__
    taken, known = call_signature(ours), call_signature(theirs)
    missing = [name for name in known.names if name not in taken.names]
    assert not missing and set(taken.required) <= set(known.required)
    # what both take has the same place, so that it can be given by position, too
    own, other = (list(_parameters(part)) for part in (ours, theirs))
    shared = [name for name in own if name in other]
    assert shared == [name for name in other if name in own]
    # and MMEngine's own stays one word away
    place = next(child for child in REGISTRIES.values() if child.module_dict.get(ours.__name__) is ours)
    assert place.get(f'mmengine.{ours.__name__}') is theirs and place.get(ours.__name__) is ours


def test_what_the_engine_imports_on_first_use_is_listed():
    """For dir(), completion, and Python's 'Did you mean' of a misspelt name."""
    assert set(engine.__all__) <= set(dir(engine))
