"""Registries of mmav: children of MMEngine's, so that ``type='MAT'`` in a config finds ours first and MMEngine's next.

A registry imports the modules that fill it at the first look-up, not when :mod:`mmav` is imported.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR as MMENGINE_EVALUATOR
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='mmav', locations=list(locations))


MODELS = _child('model', MMENGINE_MODELS, 'mmav.models')
WEIGHT_INITIALIZERS = _child('weight initializer', MMENGINE_WEIGHT_INITIALIZERS, 'mmav.models')
MODEL_WRAPPERS = _child('model_wrapper', MMENGINE_MODEL_WRAPPERS, 'mmav.engine')
DATASETS = _child('dataset', MMENGINE_DATASETS, 'mmav.datasets')
DATA_SAMPLERS = _child('data sampler', MMENGINE_DATA_SAMPLERS, 'mmav.datasets')
TRANSFORMS = _child('transform', MMENGINE_TRANSFORMS, 'mmav.datasets')
FUNCTIONS = _child('function', MMENGINE_FUNCTIONS, 'mmav.datasets')
METRICS = _child('metric', MMENGINE_METRICS, 'mmav.evaluation')
EVALUATORS = _child('evaluator', MMENGINE_EVALUATOR, 'mmav.evaluation')
RUNNERS = _child('runner', MMENGINE_RUNNERS, 'mmav.engine')
LOOPS = _child('loop', MMENGINE_LOOPS, 'mmav.engine')
HOOKS = _child('hook', MMENGINE_HOOKS, 'mmav.engine')
LOG_PROCESSORS = _child('log processor', MMENGINE_LOG_PROCESSORS, 'mmav.engine')
OPTIMIZERS = _child('optimizer', MMENGINE_OPTIMIZERS, 'mmav.engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', MMENGINE_OPTIM_WRAPPERS, 'mmav.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optimizer wrapper constructor', MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, 'mmav.engine')
PARAM_SCHEDULERS = _child('parameter scheduler', MMENGINE_PARAM_SCHEDULERS, 'mmav.engine')
VISUALIZERS = _child('visualizer', MMENGINE_VISUALIZERS, 'mmav.visualization')
VISBACKENDS = _child('visualization backend', MMENGINE_VISBACKENDS, 'mmav.visualization')
