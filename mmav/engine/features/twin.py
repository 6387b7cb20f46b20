"""The cached twin of a config: the same model and training, with features from disk in the place of the encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmav.config.device_steps import move_to_workers
from mmav.config.edits import DATALOADERS, training_views
from mmav.datasets.features.index import FeatureIndex, StoredModality, index_path, read_index
from mmav.engine.features.plan import SPLITS, encoder_settings, first_difference, innermost, preprocessor_of
from mmav.engine.features.report import shown
from mmav.errors import ConfigError, FeatureError
from mmav.models.necks.joining import CLASS_ONLY
from mmav.models.tuning import KEYS
from mmav.registry import MODELS
from mmav.structures import as_given

# of a dataset's config, what a FeatureDataset has as well
_KEPT = ('data_root', 'modalities', 'test_mode', 'modality_dropout', 'drop', 'max_broken_share', 'part_of', 'seed')
# what acts on encoders alone
_OF_ENCODERS = ('activation_checkpointing',)
_WORKER_SETTINGS = ('num_workers', 'persistent_workers', 'prefetch_factor', 'timeout', 'worker_init_fn')


def make_twin(
    cfg: Config, features: str, *, options: Sequence[str] = (), loaders: Sequence[str] = DATALOADERS
) -> list[str]:
    """Turns a config into its cached twin; changes ``cfg``.

    Args:
        cfg: A config with encoders, whose test pipeline and neck were those of the extraction.
        features: Folder that ``mmav extract-features`` wrote, with a sub-folder per split; or that of one split.
        options: Names of overrides from the command line.
        loaders: The dataloaders that will be used; others are left out if they have no features.

    Returns:
        What of the config has no effect on features and was left out, for the log.

    Raises:
        ConfigError: An override has no effect, or the neck reads tokens that are not stored.
        FeatureError: The features are missing, or of other encoders.
    """
    if cfg.model.get('type') != 'AVClassifier':
        raise ConfigError(
            f'--features: model.type={cfg.model.get("type")!r} has no backbones to replace, only AVClassifier'
        )
    for name in options:
        if name.startswith(('model.backbones.', 'model.data_preprocessor', 'model.pretrained')) or '.pipeline' in name:
            raise ConfigError(f'--cfg-options {name} has no effect with --features: the encoders have run already')
    move_to_workers(cfg)  # as the extraction did
    folders = _find_splits(cfg, features, loaders)
    indices = {loader: read_index(folder) for loader, folder in folders.items()}
    names = [name for name, backbone in cfg.model.backbones.items() if backbone is not None]
    for loader, index in indices.items():
        _check_encoders(cfg, index, str(folders[loader]), names)
    stored = next(iter(indices.values())).modalities
    for loader, index in indices.items():
        _check_alike(index, stored, names, str(folders[loader]))
    _check_neck(cfg, {name: stored[name] for name in names}, str(next(iter(folders.values()))))
    left_out = _left_out(cfg)
    views = max([1, *training_views(cfg).values()])
    for loader, folder in folders.items():
        _turn_dataset(cfg, loader, str(folder), indices[loader], names=names, views=views, options=options)
    for loader in set(DATALOADERS) - set(folders):
        _drop_stage(cfg, loader)
    cfg.model.backbones = ConfigDict(
        {name: dict(type='CachedBackbone', out_dims=stored[name].width, grid=stored[name].grid) for name in names}
    )
    cfg.model.data_preprocessor = ConfigDict(type='AVDataPreprocessor')
    cfg.model.pop('pretrained', None)
    cfg.pop('data_preprocessor', None)
    for name in _OF_ENCODERS:
        cfg.pop(name, None)
    for hook in _small_checkpoints(cfg):
        hook.pop('trained_only')
    return left_out


def _find_splits(cfg: Config, features: str, needed: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for loader in DATALOADERS:
        if cfg.get(loader) is None:
            continue
        try:
            folders[loader] = find_split(cfg, features, loader)
        except FeatureError:
            if loader in needed:
                raise
    if not folders:
        raise ConfigError('--features: the config has no dataloader')
    return folders


def find_split(cfg: Mapping[str, Any], features: str, loader: str) -> Path:
    """The folder of features for a dataloader: that of its split, or of another one that reads the same clips.

    Raises:
        ConfigError: The dataloader joins several datasets.
        FeatureError: There is none.
    """
    root, split = Path(features).expanduser(), loader.removesuffix('_dataloader')
    dataset = innermost(cfg[loader]['dataset'])
    if 'datasets' in dataset:
        raise ConfigError(
            f'--features {features}: {loader} joins {len(dataset["datasets"])} datasets, and a folder has the features '
            'of one list: write a config that joins FeatureDatasets'
        )
    same = [
        other
        for other in SPLITS
        if other != split and innermost((cfg.get(f'{other}_dataloader') or {}).get('dataset')) == dataset
    ]
    for name in (split, *same):
        if index_path(root / name).is_file():
            return root / name
    if index_path(root).is_file():
        made = read_index(root, unfinished_ok=True).made_by.get('split')
        # one folder for all splits is told apart by their manifests alone
        if made == split or (made is None and _manifest_of(dataset).is_file()):
            return root
    inside = sorted(path.parent.name for path in root.glob('*/index.json'))
    there = f'only of {", ".join(inside)}' if inside else 'no features at all'
    raise FeatureError(
        f"'{features}' has no features for {loader} ({there}): extract them with `mmav extract-features CONFIG "
        f'CHECKPOINT --out {features} --split {split}`'
    )


def _check_encoders(cfg: Config, index: FeatureIndex, folder: str, names: Sequence[str]) -> None:
    """Refuses features of other encoders than the config's."""
    settings = index.made_by.get('settings')
    if settings is None:  # made elsewhere
        return
    there, here = settings['encoder'], encoder_settings(cfg)
    for each in (there, here):  # a model may read fewer modalities
        each['backbones'] = {name: value for name, value in each['backbones'].items() if name in names}
        each['norm'] = {name: value for name, value in (each['norm'] or {}).items() if name in names}
    found = first_difference(there, here)
    if found is not None:
        name, old, new = found
        raise FeatureError(
            f"the features in '{folder}' are of other encoders than the config's ({name} was {shown(old)}, is "
            f'{shown(new)}): give the config that they were extracted with, or extract them again'
        )


def _check_alike(index: FeatureIndex, first: Mapping[str, StoredModality], names: Sequence[str], folder: str) -> None:
    for name in names:
        if name not in index.modalities:
            raise FeatureError(f"the config reads {name}, but '{folder}' has features of {', '.join(index.modalities)}")
        one, other = first[name], index.modalities[name]
        if (one.width, one.grid) != (other.width, other.grid):
            raise FeatureError(
                f"the {name} features in '{folder}' are {other.width} wide with tokens {other.grid}, those of another "
                f'split {one.width} and {one.grid}: extract them alike'
            )


def _check_neck(cfg: Config, stored: Mapping[str, StoredModality], folder: str) -> None:
    """Refuses fewer tokens than the neck reads: the model would be another one with encoders in front of it."""
    own = {key: value for key, value in cfg.model.neck.items() if key not in KEYS}
    with torch.device('meta'):
        neck = MODELS.build({'in_dims': {name: each.width for name, each in stored.items()}, **own})
    grids = getattr(neck, 'token_grids', {})
    for name, each in stored.items():
        whole = each.encoder_grid or each.grid
        if each.grid == whole or each.grid == grids.get(name):
            continue
        reads = f'{grids[name]} of them' if name in grids else f'all of {whole}'
        has = 'only class embeddings' if each.grid == CLASS_ONLY else f'tokens averaged to {each.grid}'
        raise ConfigError(
            f"neck {cfg.model.neck.type} reads {name} tokens, {reads}, and '{folder}' holds {has}: give the neck "
            f'token_grids=dict({name}={each.grid}), or extract with --tokens all'
        )


def _left_out(cfg: Config) -> list[str]:
    """What of a config acts on pixels, waveforms or encoders."""
    dataset = innermost((cfg.get('train_dataloader') or {}).get('dataset')) or {}
    test = innermost((cfg.get('test_dataloader') or {}).get('dataset')) or {}
    read = [step['type'] for step in test.get('pipeline', ())]
    found = [step['type'] for step in dataset.get('pipeline', ()) if step['type'] not in read]
    preprocessor = preprocessor_of(cfg) or {}
    if preprocessor.get('batch_augment'):
        found.append(preprocessor['batch_augment']['type'])
    trained = [
        f'training backbones.{name}.lora' for name, part in cfg.model.backbones.items() if (part or {}).get('lora')
    ]
    small = ['trained_only of checkpoints'] if _small_checkpoints(cfg) else []
    return [*found, *trained, *(name for name in _OF_ENCODERS if cfg.get(name)), *small]


def _small_checkpoints(cfg: Config) -> list[Any]:
    """The hooks that leave frozen encoders out of checkpoints, where those of features have none."""
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    return [hook for hook in hooks if isinstance(hook, Mapping) and hook.get('trained_only')]


def _turn_dataset(
    cfg: Config,
    loader: str,
    folder: str,
    index: FeatureIndex,
    *,
    names: Sequence[str],
    views: int,
    options: Sequence[str],
) -> None:
    """Replaces the dataset of a dataloader, inside its wrappers."""
    dataset = innermost(cfg[loader].dataset)
    given = dict(dataset)
    kept = {key: given[key] for key in _KEPT if key in given}
    if index.multi_label or given.get('multi_label'):
        # said, as the dataset's own default is what the folder has
        kept['multi_label'] = bool(given.get('multi_label', False))
    manifest = _manifest_of(given)
    if manifest.is_file():
        kept.update({key: given[key] for key in ('ann_file', 'classes', 'indices') if key in given})
        kept.setdefault('classes', 'classes.txt')
    elif given.get('ann_file'):
        print_log(f"no manifest at '{manifest}': the clips and labels of '{folder}' are used", 'current')
        kept['classes'] = as_given({part: list(names) for part, names in index.classes.items()})
    stored = max(index.modalities[name].views for name in names)
    if not given.get('test_mode') and views < stored:
        kept['num_views'] = views
    dataset.clear()
    dataset.update(dict(kept, type='FeatureDataset', features=folder, modalities=list(names)))
    if f'{loader}.num_workers' not in options:
        # features are mapped into memory; processes that hand them over take longer than reading them
        for name in _WORKER_SETTINGS:
            cfg[loader].pop(name, None)
        cfg[loader]['num_workers'] = 0
        cfg[loader]['persistent_workers'] = False


def _manifest_of(dataset: Mapping[str, Any]) -> Path:
    return Path(dataset.get('data_root') or '', dataset.get('ann_file') or '').expanduser()


def _drop_stage(cfg: Config, loader: str) -> None:
    """Removes a stage that will not run, whose clips may have no features."""
    stage = loader.removesuffix('_dataloader')
    # MMEngine and the check of configs ask for all of a stage, or nothing
    of_training = ('optim_wrapper', 'param_scheduler') if stage == 'train' else ()
    for name in (loader, f'{stage}_cfg', f'{stage}_evaluator', *of_training):
        if name in cfg:
            cfg[name] = None
