"""Registries of mmav: children of MMEngine's, so that ``type='MAT'`` in a config finds ours first and MMEngine's next.

A registry imports the package that fills it at the first look-up, not when :mod:`mmav` is imported. Those without a
package hold nothing of ours yet, only what ``custom_imports`` adds and MMEngine's own.

What is whose is told by the name:

* The name of an MMEngine type (``CheckpointHook``, ``OptimWrapper``, ``RepeatDataset``) means a subclass of it that
  takes the same arguments and can stand in for it, so that a config for MMEngine works unchanged. MMEngine's own stays
  one word away, ``type='mmengine.CheckpointHook'``. ``tests/test_registry.py`` checks it.
* ``AV`` before a name (``AVRunner``, ``AVTrainLoop``, ``AVDataset``) is for the counterpart of an OpenMMLab type with
  arguments or behaviour of its own, which a config or :class:`~mmav.engine.runner.AVRunner` chooses.
* Everything else has a name that MMEngine does not use.
"""

from mmengine import registry as mmengine
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='mmav', locations=list(locations))


MODELS = _child('model', mmengine.MODELS, 'mmav.models')
WEIGHT_INITIALIZERS = _child('weight initializer', mmengine.WEIGHT_INITIALIZERS, 'mmav.models.weights')
MODEL_WRAPPERS = _child('model_wrapper', mmengine.MODEL_WRAPPERS)
DATASETS = _child('dataset', mmengine.DATASETS, 'mmav.datasets')
DATA_SAMPLERS = _child(
    'data sampler',
    mmengine.DATA_SAMPLERS,
    'mmav.datasets.resumable_sampler',
    'mmav.datasets.class_balanced_sampler',
    'mmav.datasets.epoch_samplers',
)
TRANSFORMS = _child('transform', mmengine.TRANSFORMS, 'mmav.datasets.transforms')
FUNCTIONS = _child('function', mmengine.FUNCTIONS, 'mmav.datasets.collate')
METRICS = _child('metric', mmengine.METRICS, 'mmav.evaluation')
EVALUATORS = _child('evaluator', mmengine.EVALUATOR)
RUNNERS = _child('runner', mmengine.RUNNERS, 'mmav.engine.runner')
LOOPS = _child('loop', mmengine.LOOPS, 'mmav.engine.loops')
HOOKS = _child('hook', mmengine.HOOKS, 'mmav.engine.hooks')
LOG_PROCESSORS = _child('log processor', mmengine.LOG_PROCESSORS)
OPTIMIZERS = _child('optimizer', mmengine.OPTIMIZERS)
OPTIM_WRAPPERS = _child('optimizer wrapper', mmengine.OPTIM_WRAPPERS, 'mmav.engine.optim')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', mmengine.OPTIM_WRAPPER_CONSTRUCTORS, 'mmav.engine.optim'
)
PARAM_SCHEDULERS = _child('parameter scheduler', mmengine.PARAM_SCHEDULERS)
VISUALIZERS = _child('visualizer', mmengine.VISUALIZERS, 'mmav.visualization')
VISBACKENDS = _child('visualization backend', mmengine.VISBACKENDS)
