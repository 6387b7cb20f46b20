"""Changes to a config that the tools' arguments ask for: data and their cache, number of classes, precision."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmav.config.amp import PLAIN, named_amp, wrapper_kind
from mmav.errors import ConfigError
from mmav.joined_classes import names_in_config
from mmav.structures import MODALITIES, as_parts

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
AUTO = 'auto'


def dicts_within(value: Any) -> Iterator[ConfigDict]:
    """All dicts inside a part of a config, outer before inner."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from dicts_within(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts_within(item)


def leaves_of(dataset: Any) -> Iterator[ConfigDict]:
    """The config of a dataset, or those inside its wrappers, in order."""
    if not isinstance(dataset, Mapping):
        return
    members = dataset.get('datasets')
    inner = members if isinstance(members, (list, tuple)) else [dataset.get('dataset')]
    if not any(isinstance(part, Mapping) for part in inner):
        yield dataset
    for part in inner:
        yield from leaves_of(part)


def set_data_root(cfg: Config, data_root: str) -> None:
    """Relocates the data of every dataset of a config, wrapped ones included, and of its metrics; changes ``cfg``.

    Raises:
        ConfigError: Joined datasets have different folders, which would become one.
    """
    root = str(Path(data_root).expanduser())
    found = {loader: list(dicts_within((cfg.get(loader) or {}).get('dataset'))) for loader in DATALOADERS}
    for loader, parts in found.items():
        _require_one_root(parts, loader, data_root)
    if 'data_root' in cfg:
        cfg.data_root = root
    for part in (part for parts in found.values() for part in parts):
        if 'ann_file' in part or 'data_root' in part:
            part['data_root'] = root
    for evaluator in ('val_evaluator', 'test_evaluator'):
        for part in dicts_within(cfg.get(evaluator)):
            if 'data_root' in part:
                part['data_root'] = root


def _require_one_root(parts: Sequence[Mapping[str, Any]], loader: str, data_root: str) -> None:
    roots = list(dict.fromkeys(part.get('data_root') or '' for part in parts if 'ann_file' in part))
    if len(roots) > 1:
        raise ConfigError(
            f"--data-root {data_root} would take the place of {len(roots)} folders of {loader}, '{roots[0]}' and "
            f"'{roots[1]}': set each, --cfg-options {loader}.dataset.datasets.0.data_root=DIR and so on"
        )


def _set_in_datasets(cfg: Config, name: str, value: str) -> None:
    """Sets an argument of every AVDataset, wrapped ones included, or raises a ConfigError if there is none."""
    datasets = [(cfg.get(loader) or {}).get('dataset') for loader in DATALOADERS]
    parts = [part for part in dicts_within(datasets) if part.get('type') == 'AVDataset']
    if not parts:
        raise ConfigError(f'--{name} {value} has no effect: the config has no AVDataset')
    for part in parts:
        part[name] = value


def set_cache(cfg: Config, cache: str) -> None:
    """Makes every AVDataset of a config, wrapped ones included, keep decoded or prepared clips; changes ``cfg``.

    Args:
        cfg: The config.
        cache: 'ram' or a folder, see :mod:`mmav.datasets.clip_cache`; 'prepared' or 'prepared:DIR', see
            :mod:`mmav.datasets.prepared_cache`.

    Raises:
        ConfigError: The config has no AVDataset.
    """
    _set_in_datasets(cfg, 'cache', cache)


def set_shards(cfg: Config, shards: str) -> None:
    """Makes every AVDataset of a config, wrapped ones included, read clips from shards; changes ``cfg``.

    Args:
        cfg: The config.
        shards: A folder relative to the data's, or an address, see :mod:`mmav.datasets.shards.shard_set`.

    Raises:
        ConfigError: The config has no AVDataset.
    """
    _set_in_datasets(cfg, 'shards', shards)


def set_drop(cfg: Config, modality: str) -> None:
    """Makes a config test with a modality withheld from every clip; changes ``cfg``.

    Raises:
        ConfigError: The config's test set has no such modality, or no other.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    parts = [part for part in dicts_within(dataset) if 'ann_file' in part or 'features' in part]
    if not parts:
        raise ConfigError(f'--drop {modality}: the config has no test set with an ann_file')
    for part in parts:
        modalities = list(part.get('modalities', MODALITIES))
        if modality not in modalities or len(modalities) == 1:
            tested = ' and '.join(modalities)
            raise ConfigError(f'--drop {modality}: the config tests on {tested}; no other would be left')
        part['drop'] = [modality]


def find_test_set(cfg: Config) -> ConfigDict:
    """The config of the (first) test dataset, inside its wrappers.

    Raises:
        ConfigError: As :func:`find_whole_test_set`.
    """
    return next(part for part in dicts_within(find_whole_test_set(cfg)) if 'pipeline' in part)


def find_whole_test_set(cfg: Config) -> ConfigDict:
    """The config of the test dataset with its wrappers.

    Raises:
        ConfigError: The config has none with a pipeline, or reads features.
    """
    for loader in ('test_dataloader', 'val_dataloader'):
        whole = (cfg.get(loader) or {}).get('dataset')
        for part in dicts_within(whole):
            if 'pipeline' in part:
                return whole
            if 'features' in part:
                raise ConfigError(
                    f"{loader} reads features, not files: give the config with encoders that '{part['features']}' was "
                    'made by, and a checkpoint that `mmav merge` joined with them'
                )
    raise ConfigError('the config has no test_dataloader with a pipeline, which says how clips are read')


def training_views(cfg: Config) -> dict[str, int]:
    """Modality -> views per clip in the training pipeline of a config, if it says so."""
    parts = dicts_within((cfg.get('train_dataloader') or {}).get('dataset'))
    dataset: Mapping[str, Any] = next((part for part in parts if 'pipeline' in part), {})
    steps = {step['type']: step for step in dataset.get('pipeline', ())}
    kinds = dict(video='LoadClip', audio='AudioViews')
    views = {name: steps[kind].get('num_views', 1) for name, kind in kinds.items() if kind in steps}
    preprocessor = (cfg.get('model') or {}).get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if masks := preprocessor.get('spec_augment'):  # which makes the views on the device
        views['audio'] = views.get('audio', 1) * masks.get('num_views', 1)
    return views


def resolve_num_classes(
    cfg: Config, classes: Sequence[str] | None = None, *, loaders: Sequence[str] = DATALOADERS
) -> None:
    """Puts the length of the class list wherever the config says ``num_classes='auto'``; changes ``cfg``.

    Args:
        cfg: The config.
        classes: The list; that of the first dataloader that has one, if not given.
        loaders: The dataloaders to look at.

    Raises:
        ConfigError: The config says ``'auto'`` but no dataset names its classes.
        ManifestError: The class list cannot be read.
    """
    asking = [part for part in dicts_within(cfg.get('model')) if part.get('num_classes') == AUTO]
    if not asking and cfg.get('num_classes') != AUTO:
        return
    try:
        number = len(_class_names(cfg, loaders) if classes is None else classes)
    except ConfigError:
        if asking:
            raise
        return  # a variable of the bases that the model does not use, as with verbs and nouns
    for part in asking:
        part['num_classes'] = number
    if cfg.get('num_classes') == AUTO:
        cfg.num_classes = number


def _class_names(cfg: Config, loaders: Sequence[str]) -> tuple[str, ...]:
    for loader in loaders:
        for part in dicts_within((cfg.get(loader) or {}).get('dataset')):
            if 'datasets' in part and 'classes' not in part:
                continue
            _require_one_list(as_parts(part.get('classes')))
            names = names_in_config(part, missing_ok=False)
            if names:
                _require_one_list(names)  # of joined lists, 'union' did not tell the parts
                return names['label']
    raise ConfigError("num_classes='auto' needs a dataset with a class list (classes='classes.txt')")


def _require_one_list(lists: Mapping[str, Any]) -> None:
    if lists.keys() != {'label'}:
        raise ConfigError(f"num_classes='auto' needs one class list, not {' and '.join(lists)}: write the numbers")


def turn_on_deterministic(cfg: Config, options: Mapping[str, Any] | None = None) -> None:
    """Makes a config use deterministic algorithms only; changes ``cfg`` and the environment.

    If a GPU has none for an operation, torch raises an error that names it. Also turns off TF32 and cuDNN's benchmark,
    see :mod:`mmav.engine.precision`.

    Args:
        cfg: The config.
        options: Overrides from the command line.

    Raises:
        ConfigError: An override would have no effect.
    """
    for name in ('precision.tf32', 'env_cfg.cudnn_benchmark'):
        if (options or {}).get(name):
            raise ConfigError(f'--cfg-options {name}=True has no effect with --deterministic, which turns it off')
    cfg.randomness = {**(cfg.get('randomness') or {}), 'deterministic': True}
    # what cuBLAS needs for it, read when the first GPU is touched
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')


def set_amp(cfg: Config, amp: str = 'bfloat16', *, options: Mapping[str, Any] | None = None) -> None:
    """Makes a config train in mixed precision, or not; changes ``cfg``.

    Args:
        cfg: The config.
        amp: Of ``AMP`` of :mod:`mmav.engine.precision`, which decides by it and the hardware.
        options: Overrides from the command line.

    Raises:
        ConfigError: The config has an optimizer wrapper of its own kind, or an override would have no effect.
    """
    kind, named = wrapper_kind(cfg.optim_wrapper), named_amp(cfg.optim_wrapper)
    if kind != PLAIN and named is None:
        raise ConfigError(f"--amp replaces optim_wrapper.type 'OptimWrapper'; this config has {kind!r}")
    cfg.precision = {**(cfg.get('precision') or {}), 'amp': amp}
    drop = [] if named in (None, amp) else ['type', 'dtype', 'loss_scale']
    for name in options or {}:
        if name == 'precision.amp' or name.removeprefix('optim_wrapper.').split('.')[0] in drop:
            raise ConfigError(f'--cfg-options {name} has no effect with --amp {amp}: give one of them')
    for name in drop:
        cfg.optim_wrapper.pop(name, None)


def set_eval_amp(cfg: Config, amp: str, *, options: Mapping[str, Any] | None = None) -> None:
    """Makes a config test in mixed precision, or not; changes ``cfg``.

    Args:
        cfg: The config.
        amp: As in :func:`set_amp`.
        options: Overrides from the command line.

    Raises:
        ConfigError: An override, or the config's ``test_cfg.fp16``, would have no effect.
    """
    if 'precision.eval_amp' in (options or {}):
        raise ConfigError(f'--cfg-options precision.eval_amp has no effect with --amp {amp}: give one of them')
    if (cfg.get('test_cfg') or {}).get('fp16'):
        raise ConfigError(f'--amp {amp}: the config has test_cfg.fp16=True, leave that out')
    cfg.precision = {**(cfg.get('precision') or {}), 'eval_amp': amp}


def turn_on_auto_scale_lr(cfg: Config) -> None:
    """Makes a config scale its learning rate to the batch; changes ``cfg``.

    Raises:
        ConfigError: The config does not say what batch its learning rate is for.
    """
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise ConfigError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config')
    cfg.auto_scale_lr.enable = True
