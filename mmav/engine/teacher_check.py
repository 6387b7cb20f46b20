"""Checks that the teachers of a config (``UnimodalTeachers``) were trained on what they will see, and on its classes.

A teacher with another normalisation, front end or class list gives features without an error, and bad ones. A file that
is not there is no problem here: only training reads teachers, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmav.class_names import in_config, noted_in, tell_difference
from mmav.config.check import checks
from mmav.config.edits import leaves_of
from mmav.config.reading import load_config
from mmav.datasets.transforms import Spectrogram
from mmav.engine.features.plan import preprocessor_of
from mmav.engine.input_check import AS_IT_IS, class_of, pipelines_of, same_norm, tell_apart
from mmav.errors import ConfigError, MmavError, one_line
from mmav.models.auxiliary import UnimodalTeachers
from mmav.models.backbones.base import Backbone
from mmav.models.data_preprocessor import BACKBONE
from mmav.registry import MODELS, TRANSFORMS

_TRAINING = 'train_dataloader'


@checks(None)
def teacher_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per teacher that was trained on something else than the model will be."""
    model = cfg.get('model')
    auxiliary = model.get('auxiliary') if isinstance(model, Mapping) else None
    for name, part in (auxiliary or {}).items() if isinstance(auxiliary, Mapping) else ():
        kind = class_of(part, MODELS)
        if kind is None or not issubclass(kind, UnimodalTeachers):
            continue
        for modality, files in part.items():
            if isinstance(files, Mapping) and {'config', 'checkpoint'} <= files.keys():
                yield from _problems_of(cfg, modality, files, f'model.auxiliary.{name}.{modality}')


def _problems_of(cfg: Mapping[str, Any], modality: str, files: Mapping[str, str], place: str) -> Iterator[str]:
    own = (cfg['model'].get('backbones') or {}).get(modality)
    if isinstance(own, Mapping) and own.get('type') == 'CachedBackbone':
        yield f'{place}: a teacher sees what encoders see, and this config reads features: leave {place} out'
        return
    try:
        theirs = load_config(files['config'])
    except ConfigError:
        theirs = None
    if theirs is not None:
        yield from _input_problems(cfg, theirs, modality, f"{place}: the teacher of '{files['config']}'")
    names, taught = _classes(cfg), noted_in(files['checkpoint']) if os.path.isfile(files['checkpoint']) else None
    if names is not None and taught is not None and dict(names) != dict(taught):
        told = tell_difference(taught, names, ('the teacher', 'this config'))
        yield f"{place}: '{files['checkpoint']}' was trained with other classes: {told}"


def _input_problems(cfg: Mapping[str, Any], theirs: Mapping[str, Any], modality: str, who: str) -> Iterator[str]:
    norms = [_norm(each, modality) for each in (cfg, theirs)]
    if None not in norms and not same_norm(*norms):
        yield f'{who} was trained with norm={norms[1]}, this config has norm={norms[0]}: give them the same'
    if modality == 'audio':
        ours, other = (_front_end(each) for each in (cfg, theirs))
        if ours is not None and other is not None and ours.identity() != other.identity():
            yield (
                f'{who} was trained with {tell_apart(other, ours)}, this config has {tell_apart(ours, other)}: give '
                'them the same front end'
            )


def _norm(cfg: Mapping[str, Any], modality: str) -> Any:
    """The normalisation of a modality; None if it cannot be told."""
    norm = ((preprocessor_of(cfg) or {}).get('norm') or {}).get(modality, AS_IT_IS)
    if norm != BACKBONE:
        return dict(norm) if isinstance(norm, Mapping) else None
    part = cfg['model']['backbones'].get(modality)
    kind = class_of(part, MODELS)
    if kind is None or not issubclass(kind, Backbone):
        return None
    try:
        return kind.expected_of({key: value for key, value in part.items() if key != 'type'}).norm
    except (MmavError, ValueError, ImportError):
        return None


def _front_end(cfg: Mapping[str, Any]) -> Spectrogram | None:
    for place, steps in pipelines_of(cfg):
        for kind, step in steps:
            if place.startswith(_TRAINING) and issubclass(kind, Spectrogram):
                try:
                    return TRANSFORMS.build(dict(step))
                except (MmavError, ValueError, TypeError, ImportError) as error:
                    raise ConfigError(f'{place}: {one_line(error)}') from error
    return None


def _classes(cfg: Mapping[str, Any]) -> Any:
    for dataset in leaves_of((cfg.get(_TRAINING) or {}).get('dataset')):
        names = in_config(dataset)
        if names is not None:
            return names
    return None
