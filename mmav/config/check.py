"""Checks a config before anything expensive is built: every ``type`` is registered, every keyword fits its signature.

MMEngine finds a typo when it builds the part, perhaps after an epoch (a metric, a hook), or never (``paramwise_cfg``,
``randomness``, a misspelt name at the top level). Rules:

* A dict with ``type`` must name an entry of the right registry: chosen by its key (``sampler``, ``pipeline``,
  ``optimizer`` ...), or that of the enclosing dict.
* Its keywords must be those of the class, or of its parents if it forwards ``**kwargs``. Keywords without a default are
  required, unless MMEngine or the owner fills them in: ``in_dims`` of necks and heads, and everything under a key that
  ends in ``_cfg``.
* A top-level name is one that MMEngine's Runner reads, or a variable of the config; a variable must not look like a
  misspelling of the former.
* Settings that only their owner can check (``compile``, ``activation_checkpointing``, public weights) are checked by a
  function that the owner registers with :func:`checks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from mmav import registry
from mmav.config.amp import precision_problems
from mmav.config.signatures import CallSignature, call_signature
from mmav.errors import ConfigError, did_you_mean

# read by MMEngine from the config itself, not through the Runner's arguments
_ENGINE_NAMES = (
    'activation_checkpointing',
    'fsdp',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'precision',
    'runner_type',
    'sync_bn',
)
_LOOKS_LIKE = 0.8

# top-level name -> registry, and the type that MMEngine defaults to
_PARTS: dict[str, tuple[Registry, str | None]] = {
    'data_preprocessor': (registry.MODELS, None),
    'log_processor': (registry.LOG_PROCESSORS, 'LogProcessor'),
    'model': (registry.MODELS, None),
    'model_wrapper_cfg': (registry.MODEL_WRAPPERS, 'MMDistributedDataParallel'),
    'visualizer': (registry.VISUALIZERS, 'Visualizer'),
}
_REGISTRY_OF_KEY = {
    'batch_sampler': registry.DATA_SAMPLERS,
    'collate_fn': registry.FUNCTIONS,
    'dataset': registry.DATASETS,
    'datasets': registry.DATASETS,
    'init_cfg': registry.WEIGHT_INITIALIZERS,
    'metrics': registry.METRICS,
    'optimizer': registry.OPTIMIZERS,
    'pipeline': registry.TRANSFORMS,
    'sampler': registry.DATA_SAMPLERS,
    'transforms': registry.TRANSFORMS,
    'vis_backends': registry.VISBACKENDS,
    'worker_init_fn': registry.FUNCTIONS,
}
# dicts under these keys of a model are always built, and so is all that those of the second kind hold
_BUILT, _HOLDERS = ('contrast', 'data_preprocessor', 'head', 'loss', 'neck'), ('auxiliary', 'backbones', 'losses')
# arguments that MMEngine or the owner of a part fills in
_FILLED_IN: dict[Registry, tuple[str, ...]] = {
    registry.DATA_SAMPLERS: ('dataset', 'seed', 'sampler', 'batch_size'),
    registry.LOOPS: ('runner', 'dataloader', 'evaluator'),
    registry.MODELS: ('in_dims',),
    registry.MODEL_WRAPPERS: ('module', 'device_ids'),
    registry.OPTIMIZERS: ('params',),
    registry.OPTIM_WRAPPERS: ('optimizer',),
    registry.PARAM_SCHEDULERS: ('optimizer', 'end', 'epoch_length'),
    registry.VISBACKENDS: ('save_dir',),
}
# and those of a model's auxiliary parts
_FILLED_IN_AUXILIARY = ('head', 'stream_dims')
_PLAIN_DICTS = {
    'auto_scale_lr': ('enable', 'base_batch_size'),
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'),
    'precision': ('amp', 'eval_amp', 'tf32'),
    'randomness': ('seed', 'diff_rank_seed', 'deterministic'),
}
# keywords of any part under these keys, which the owner of the parts reads
_OWNERS_KEYS: dict[str, tuple[str, ...]] = {'backbones': ('freeze', 'lora'), 'neck': ('freeze', 'lora')}
_SWITCHES = ('cudnn_benchmark', 'deterministic', 'diff_rank_seed')
_MP_CFG = ('mp_start_method', 'opencv_num_threads')
_PARAMWISE = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'token_decay_mult',
    'head_lr_mult',
    'neck_lr_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)

Problems = Iterator[str]
Judge = Callable[[Any], Iterable[str] | None]
_CHECKS: dict[str | None, list[Judge]] = {}


def checks(name: str | None) -> Callable[[Judge], Judge]:
    """Decorator that registers a function to be called by :func:`check_config`.

    Args:
        name: The top-level name of a config whose value is passed to the function, if present; None for the whole
            config. The function yields one line per problem, or raises a :class:`~mmav.errors.ConfigError`.
    """

    def register(judge: Judge) -> Judge:
        _CHECKS.setdefault(name, []).append(judge)
        return judge

    return register


def top_level_names() -> list[str]:
    """The top-level names of a config that MMEngine reads."""
    own = [name for name in inspect.signature(Runner.__init__).parameters if name not in ('self', 'cfg')]
    return [*own, *_ENGINE_NAMES]


def check_config(cfg: Config) -> None:
    """Checks a config; builds nothing and reads no data.

    Raises:
        ConfigError: Lists every problem with its path in the config and the nearest valid name.
    """
    if cfg.get('custom_imports'):
        try:
            import_modules_from_strings(**cfg.custom_imports)
        except (ImportError, TypeError) as error:
            raise ConfigError(f'custom_imports: {error}') from error
    found = list(dict.fromkeys(find_problems(cfg)))  # test_dataloader is often val_dataloader: report it once
    if found:
        name = f"'{cfg.filename}': " if getattr(cfg, 'filename', None) else ''
        head = '' if len(found) == 1 else f'{len(found)} problems in the config\n'
        raise ConfigError(name + head + '\n'.join(found))


def find_problems(cfg: Config) -> Problems:
    """Yields one line a problem."""
    for place in (registry.RUNNERS, registry.WEIGHT_INITIALIZERS):  # these modules register checks
        place.import_from_location()
    if 'model' not in cfg:
        yield 'model: a config needs one'
    known = top_level_names()
    for name, value in cfg.items():
        if name in known:
            yield from _top_level(name, value)
        elif near := get_close_matches(name, known, n=1, cutoff=_LOOKS_LIKE):
            yield f'{name}: nothing reads this name, did you mean {near[0]!r}?'
    yield from _complete_stages(cfg)
    for name, judges in _CHECKS.items():
        if name is None or cfg.get(name) is not None:
            for judge in judges:
                yield from _judged(judge, cfg if name is None else cfg[name])


def _judged(judge: Judge, value: Any) -> Problems:
    try:
        yield from judge(value) or ()
    except ConfigError as error:
        yield str(error)


def _complete_stages(cfg: Config) -> Problems:
    """Training, validation and testing each need all of their parts, or none."""
    for parts in (
        ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
        ('test_dataloader', 'test_cfg', 'test_evaluator'),
    ):
        given = [part for part in parts if cfg.get(part) is not None]
        for part in parts:
            if given and part not in given:
                yield f'{part}: missing, but {given[0]} is given'


def _top_level(name: str, value: Any) -> Problems:
    if value is None:
        return
    if name in _PARTS:
        place, kind = _PARTS[name]
        yield from _part(value, name, place, default=kind)
    elif name.endswith('_dataloader'):
        yield from _dataloader(value, name)
    elif name in ('train_cfg', 'val_cfg', 'test_cfg'):
        by_epoch = isinstance(value, dict) and value.get('by_epoch', True)
        train = 'AVTrainLoop' if by_epoch else 'AVIterTrainLoop'
        default = {'train_cfg': train, 'val_cfg': 'AVValLoop', 'test_cfg': 'AVTestLoop'}[name]
        yield from _part(value, name, registry.LOOPS, default=default, extra=() if 'type' in value else ('by_epoch',))
    elif name == 'optim_wrapper':
        yield from _optim_wrapper(value, name)
    elif name == 'param_scheduler':
        yield from _parts(value, name, registry.PARAM_SCHEDULERS, extra=('convert_to_iter_based',))
        yield from _spans(value, name)
    elif name.endswith('_evaluator'):
        if isinstance(value, dict) and 'metrics' in value:
            yield from _part(value, name, registry.EVALUATORS, default='Evaluator')
        else:
            yield from _parts(value, name, registry.METRICS)
    elif name == 'custom_hooks' and not isinstance(value, (list, tuple)):
        yield f'{name}: it has to be a list of hooks; hooks with names go into default_hooks'
    elif name in ('default_hooks', 'custom_hooks'):
        named = value.items() if isinstance(value, dict) else ((str(i), hook) for i, hook in enumerate(value))
        for key, hook in named:
            if hook is not None:
                yield from _part(hook, f'{name}.{key}', registry.HOOKS, extra=('priority',))
    elif name == 'runner_type' and isinstance(value, str):
        if _look_up(registry.RUNNERS, value) is None:
            yield _unregistered(value, name, registry.RUNNERS)
    elif name in _PLAIN_DICTS:
        if name != 'precision' or isinstance(value, dict):  # its own check reports other types
            yield from _keywords(value, name, _PLAIN_DICTS[name], f'{name} has')
        for switch in _SWITCHES:  # a word such as 'no' would turn it on
            if isinstance(value, dict) and not isinstance(value.get(switch, False), bool | None):
                yield f'{name}.{switch}={value[switch]!r}: give True or False'
        seed = value.get('seed') if isinstance(value, dict) else None
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):  # numpy takes no other
            yield f'{name}.seed={seed!r}: give a whole number from 0 to {2**32 - 1}, or None'
        if isinstance(value, dict) and value.get('mp_cfg') is not None:
            yield from _keywords(value['mp_cfg'], f'{name}.mp_cfg', _MP_CFG, 'mp_cfg has')
        if name == 'precision':
            yield from precision_problems(value)


def _dataloader(value: Any, path: str) -> Problems:
    from torch.utils.data import DataLoader

    own = ('num_batch_per_epoch', 'disable_subprocess_warning')
    if not isinstance(value, dict):
        yield f'{path}: must be a dict, got {type(value).__name__}'
        return
    yield from _keywords(value, path, (*call_signature(DataLoader).names, *own), 'a dataloader has')
    for needed in ('dataset', 'sampler'):
        if needed not in value:
            yield f'{path}.{needed}: missing'
    yield from _children(value, path, registry.DATASETS)


def _optim_wrapper(value: Any, path: str) -> Problems:
    if not isinstance(value, dict):
        yield f'{path}: must be a dict, got {type(value).__name__}'
        return
    constructor = value.get('constructor')
    if constructor is None and 'optimizer' not in value:
        yield f'{path}.optimizer: missing'
    if isinstance(constructor, str) and _look_up(registry.OPTIM_WRAPPER_CONSTRUCTORS, constructor) is None:
        yield _unregistered(constructor, f'{path}.constructor', registry.OPTIM_WRAPPER_CONSTRUCTORS)
    known = {None: _PARAMWISE, 'LayerDecayConstructor': (*_PARAMWISE, 'layer_decay')}.get(constructor)
    if known and isinstance(value.get('paramwise_cfg'), dict):
        taker = constructor or 'the default constructor'
        yield from _keywords(value['paramwise_cfg'], f'{path}.paramwise_cfg', known, f'{taker} takes')
        yield from _custom_keys(value, path)
    apart = ('clip_grad', 'paramwise_cfg', 'constructor')  # read by name, not built
    rest = {key: item for key, item in value.items() if key not in apart}
    yield from _part(rest, path, registry.OPTIM_WRAPPERS, default='OptimWrapper')


def _custom_keys(value: dict, path: str) -> Problems:
    """What ``custom_keys`` change: MMEngine's factors, or options of the optimizer."""
    keys = value['paramwise_cfg'].get('custom_keys')
    if keys is None:
        return
    optimizer = value.get('optimizer')
    kind = optimizer.get('type') if isinstance(optimizer, dict) else None
    target = kind if callable(kind) else _look_up(registry.OPTIMIZERS, kind)
    own = call_signature(target).names if target is not None else []
    known = ['lr_mult', 'decay_mult', *(name for name in own if name != 'params')]
    if not isinstance(keys, dict):
        yield f'{path}.paramwise_cfg.custom_keys: must be a dict, got {type(keys).__name__}'
        return
    for key, options in keys.items():
        yield from _keywords(options, f'{path}.paramwise_cfg.custom_keys.{key}', known, 'a custom key has')


def _parts(value: Any, path: str, place: Registry, *, extra: Sequence[str] = ()) -> Problems:
    """One part or a list of parts."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _part(item, f'{path}.{i}', place, extra=extra)
    else:
        yield from _part(value, path, place, extra=extra)


def _spans(value: Any, path: str) -> Problems:
    """Each schedule must end after it begins."""
    for i, item in enumerate(value) if isinstance(value, (list, tuple)) else [('', value)]:
        begin, end = (item.get(key) for key in ('begin', 'end')) if isinstance(item, dict) else (None, None)
        if isinstance(end, (int, float)) and end <= (begin or 0):
            where = f'{path}.{i}'.rstrip('.')
            yield f'{where}.end: {end} is not after begin={begin or 0}; shorten what comes before, or leave it out'


def _part(
    value: Any,
    path: str,
    place: Registry,
    *,
    default: str | None = None,
    extra: Sequence[str] = (),
    added: Sequence[str] = (),
    partial: bool = False,
) -> Problems:
    """Checks a dict that will be built: its type, its keywords, and nested parts.

    ``extra`` are keywords that are read elsewhere, ``added`` those that a user may take for the part's own.
    """
    if not isinstance(value, dict):
        yield f'{path}: must be a dict with a type, got {type(value).__name__} {value!r}'
        return
    kind = value.get('type', default)
    if kind is None:
        yield f'{path}.type: missing; it has {", ".join(value) or "nothing"}'
        return
    target = kind if callable(kind) else _look_up(place, kind)
    if target is None:
        yield _unregistered(kind, f'{path}.type', place)
    else:
        yield from _call(value, path, target, place, extra=extra, added=added, partial=partial)
    yield from _children(value, path, place)


def _call(
    value: dict,
    path: str,
    target: Callable,
    place: Registry,
    *,
    extra: Sequence[str],
    added: Sequence[str],
    partial: bool,
) -> Problems:
    # the first argument of a collate function or a worker's set-up comes from the DataLoader
    signature = call_signature(target, skip_positional=int(place is registry.FUNCTIONS))
    name = getattr(target, '__name__', str(target))
    given = {key: item for key, item in value.items() if key not in ('type', '_scope_', *extra)}
    known = [*signature.names, *added]
    if signature.is_open:
        # any keyword is allowed, except one that is almost a known one
        given = {key: item for key, item in given.items() if get_close_matches(key, known, 1, _LOOKS_LIKE)}
    yield from _keywords(given, path, known, f'{name} takes')
    yield from _missing(signature, given if not signature.is_open else value, path, name, place, partial)


def _missing(signature: CallSignature, given: dict, path: str, name: str, place: Registry, partial: bool) -> Problems:
    if partial or place is registry.FUNCTIONS:
        return
    filled_in = _FILLED_IN.get(place, ()) + _FILLED_IN_AUXILIARY * (path.split('.')[-2:-1] == ['auxiliary'])
    for needed in signature.required:
        if needed not in given and needed not in filled_in:
            yield f'{path}.{needed}: missing, {name} needs it'


def _children(value: Any, path: str, place: Registry) -> Problems:
    """Checks the parts inside a dict or a list."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    owner = path.rpartition('.')[2]
    for key, item in items:
        here = _REGISTRY_OF_KEY.get(key, place) if isinstance(key, str) else place
        inside = f'{path}.{key}'
        if isinstance(item, dict) and 'type' in item:
            partial = isinstance(key, str) and key.endswith('_cfg')
            if isinstance(key, str) and key not in _REGISTRY_OF_KEY:
                here = _where_registered(item['type'], here)
            added = (*_OWNERS_KEYS.get(owner, ()), *_OWNERS_KEYS.get(str(key), ()))
            yield from _part(item, inside, here, partial=partial, added=added)
        elif isinstance(item, dict) and place is registry.MODELS and (key in _BUILT or owner in _HOLDERS):
            yield from _part(item, inside, here)  # its type is missing
        elif isinstance(item, (dict, list, tuple)):
            yield from _children(item, inside, here)


def _registries() -> list[Registry]:
    return [item for item in vars(registry).values() if isinstance(item, Registry) and item.scope == 'mmav']


def _where_registered(kind: Any, place: Registry) -> Registry:
    """The registry that holds a part; under an unknown key a part may be of any kind."""
    if not isinstance(kind, str) or _look_up(place, kind) is not None:
        return place
    return next((other for other in _registries() if _look_up(other, kind) is not None), place)


def _look_up(place: Registry, kind: Any) -> Any:
    if not isinstance(kind, str):
        return None
    try:
        return place.get(kind)
    except RuntimeError:  # MMEngine takes 'a.b' for a module
        return None


def _all_names(place: Registry) -> list[str]:
    names: list[str] = []
    level: Registry | None = place
    while level is not None:
        names += level.module_dict
        level = level.parent
    return names


def _unregistered(kind: Any, path: str, place: Registry) -> str:
    other = next((r for r in _registries() if r is not place and _look_up(r, kind) is not None), None)
    if other is not None:
        return f'{path}: {kind!r} is a {other.name}, but a {place.name} belongs here'
    return f'{path}: no {place.name} {kind!r} is registered{did_you_mean(str(kind), _all_names(place))}'


def _keywords(given: Any, path: str, names: Sequence[str], who: str) -> Problems:
    if not isinstance(given, dict):
        yield f'{path}: must be a dict, got {type(given).__name__}'
        return
    for key in given:
        if key not in names:
            hint = did_you_mean(str(key), names) or f'; {who} {", ".join(names) or "nothing"}'
            yield f'{path}.{key}: unknown{"" if hint.startswith(";") else f", {who} no such argument"}{hint}'
