"""What is extracted: which clips of a config, how they are read, and what the features depend on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from mmav.config.edits import find_test_set
from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.features.clip_views import ClipViews
from mmav.datasets.transforms import LoadClip
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.errors import ConfigError
from mmav.files import digest_of
from mmav.registry import DATASETS

SPLITS = ('train', 'val', 'test')
# settings of an encoder that matter only while it is trained
_OF_TRAINING = ('freeze', 'init_cfg', 'drop_path_rate', 'dropout')


@dataclass(frozen=True)
class Options:
    """How features are extracted.

    Attributes:
        views: Views of each clip, of test pipelines that take several; None for the config's.
        windows: Windows of each clip, stored as its views.
        augment: How often each window is read with the training pipeline; None reads it once with the test pipeline.
        tokens: ``auto``, ``all`` or ``cls``, see :func:`mmav.engine.features.encoders.stored_grids`.
        dtype: Of the stored numbers.
        amp: Type that the encoders compute in: ``none`` (float32), ``bfloat16`` or ``float16``.
        batch_size: Clips in a batch; None for the config's.
        workers: Processes that read clips; None for the config's.
    """

    views: int | None = None
    windows: int = 1
    augment: int | None = None
    tokens: str = 'auto'
    dtype: str = 'float32'
    amp: str = 'none'
    batch_size: int | None = None
    workers: int | None = None


def innermost(dataset: Any) -> Any:
    """The config of a dataset inside its wrappers."""
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    return dataset


def splits_of(cfg: Mapping[str, Any]) -> list[str]:
    """The splits of a config, each manifest once: a validation set that is the test set is left out.

    Raises:
        ConfigError: The config has no data.
    """
    found: dict[str, Any] = {}
    for split in reversed(SPLITS):  # the name of a set that is used twice is 'test'
        dataset = innermost((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
        if dataset is not None and dataset not in found.values():
            found[split] = dataset
    if not found:
        raise ConfigError('the config has no dataloader: there are no clips to extract features of')
    return [split for split in SPLITS if split in found]


def list_of(cfg: Mapping[str, Any], split: str) -> Any:
    """The config of the one list of clips that a split has, inside its wrappers.

    Raises:
        ConfigError: The config has no such split, or its dataset is not an AVDataset.
    """
    given = innermost((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
    if given is None:
        raise ConfigError(f'--split {split}: the config has no {split}_dataloader')
    kind = DATASETS.get(given['type']) if isinstance(given.get('type'), str) else given.get('type')
    if not (isinstance(kind, type) and issubclass(kind, AVDataset)) or 'pipeline' not in given:
        remedy = '; extract each of the lists with a config of its own' if 'datasets' in given else ''
        raise ConfigError(
            f'{split}_dataloader: features of a {given.get("type")!r} cannot be extracted, only of an AVDataset{remedy}'
        )
    return given


def clips_of(cfg: Config, split: str, options: Options) -> ClipViews:
    """The clips of a split, read by the test pipeline, or by the training pipeline with ``augment``.

    Raises:
        ConfigError: The config has no such split, its dataset is not an AVDataset, or an option does not fit it.
        ManifestError: The manifest or class list is missing or wrong.
    """
    given = list_of(cfg, split)
    pipeline = copy.deepcopy((given if options.augment else find_test_set(cfg))['pipeline'])
    if options.views is not None:
        loads = [step for step in pipeline if step.get('type') == 'LoadClip']
        if options.views < 1 or not loads:
            raise ConfigError(
                f'--views {options.views}: {"give a number from 1" if loads else "no LoadClip takes them"}'
            )
        loads[0]['num_views'] = options.views
    kept = {key: value for key, value in given.items() if key not in ('modality_dropout', 'drop', 'test_mode', 'seed')}
    seed = given.get('seed', (cfg.get('randomness') or {}).get('seed') or 0)
    dataset = DATASETS.build(dict(kept, pipeline=pipeline, test_mode=True, seed=seed))
    return ClipViews(dataset, windows=options.windows, window=_window(dataset), augment=options.augment or 1)


def _window(dataset: AVDataset) -> float | None:
    """Seconds that the encoders look at in one piece."""
    steps = dataset.pipeline.transforms
    load = next((step for step in steps if isinstance(step, LoadClip)), None)
    if load is not None and load.window is not None:
        return load.window
    front_end = find_spectrogram(steps)
    return None if front_end is None else front_end.window


def preprocessor_of(cfg: Mapping[str, Any]) -> Any:
    """The config of the data preprocessor, which MMEngine also takes from the top level; None if there is none."""
    return cfg['model'].get('data_preprocessor') or cfg.get('data_preprocessor')


def encoder_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What tokens depend on besides weights, of a config: encoders, normalisation and the test pipeline, as JSON."""
    backbones = {
        name: {key: value for key, value in backbone.items() if key not in _OF_TRAINING}
        for name, backbone in cfg['model']['backbones'].items()
        if backbone is not None
    }
    norm = (preprocessor_of(cfg) or {}).get('norm')
    return as_json(dict(backbones=backbones, norm=norm, pipeline=find_test_set(cfg)['pipeline']))


def as_json(value: Any) -> Any:
    """A value as JSON would give it back."""
    return json.loads(json.dumps(value, default=str))


def settings_of(
    cfg: Config,
    split: str,
    clips: ClipViews,
    options: Options,
    *,
    weights: Mapping[str, str],
    stored: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the features of a split depend on; two runs with equal settings make the same features.

    Args:
        cfg: The config.
        split: Of the config.
        clips: Of the split.
        options: Of the extraction.
        weights: Modality -> checksum of its encoder.
        stored: Modality -> width, grid and views of what is stored.
    """
    given = innermost(cfg[f'{split}_dataloader'].dataset)
    return as_json(
        dict(
            encoder=encoder_settings(cfg),
            weights=dict(weights),
            stored=stored,
            manifest=digest_of(clips.dataset.ann_file),
            indices=given.get('indices'),
            classes=clips.dataset.metainfo['classes'],
            modalities=clips.dataset.modalities,
            # not where it is False: there were folders before there was a choice
            **(dict(multi_label=True) if clips.dataset.multi_label else {}),
            augmentation=given['pipeline'] if options.augment else None,
            seed=clips.dataset.seed if options.augment else None,
            **{name: getattr(options, name) for name in ('views', 'windows', 'augment', 'dtype', 'amp')},
        )
    )


def digest_settings(settings: Mapping[str, Any]) -> str:
    """A checksum of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def first_difference(one: Any, other: Any, name: str = '') -> tuple[str, Any, Any] | None:
    """Where two JSON values differ first: the dotted name and both values; None where they are equal.

    >>> first_difference(dict(a=dict(b=1, c=2)), dict(a=dict(b=1, c=3)))
    ('a.c', 2, 3)
    """
    if one == other:
        return None
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys((*one, *other)):
            if (found := first_difference(one.get(key), other.get(key), f'{name}.{key}'.lstrip('.'))) is not None:
                return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, pair in enumerate(zip(one, other, strict=True)):
            if (found := first_difference(*pair, f'{name}.{k}'.lstrip('.'))) is not None:
                return found
    return name, one, other
