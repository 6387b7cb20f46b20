"""Test-time views that ``mmav test`` asks for: of how many windows, times, crops and mirror images a config tests."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from mmav.config.edits import dicts_within
from mmav.errors import ConfigError
from mmav.structures import MODALITIES

# steps that change frames alike in testing; mirror images are made behind the last of them
_FRAME_STEPS = ('LoadClip', 'Resize', 'CenterCrop', 'SpatialCrops')
_CLASSIFIER = 'AVClassifier'


def set_test_views(
    cfg: Config,
    *,
    views: int | None = None,
    windows: int | None = None,
    crops: int | None = None,
    flip: bool = False,
) -> None:
    """Edits the test pipelines of a config; changes ``cfg``.

    Args:
        cfg: The config.
        views: ``num_views`` of ``LoadClip``.
        windows: ``num_windows`` of ``LoadClip``.
        crops: Crops along the longer side, in place of ``CenterCrop``; frames are decoded at the size of the crop.
        flip: Whether mirror images are added.

    Raises:
        ConfigError: A pipeline has no step that could do it, or the model gets no video.
    """
    asked = dict(views=views, windows=windows, crops=crops, flip=flip or None)
    given = {
        f'--{name}' + ('' if value is True else f' {value}'): name for name, value in asked.items() if value is not None
    }
    if not given:
        return
    first = next(iter(given))
    cfg.test_dataloader = copy.deepcopy(cfg.get('test_dataloader'))  # it may be the validation's, too
    for part in _test_sets(cfg, first):
        for option, name in given.items():
            if name != 'windows' and 'video' not in _tested(cfg, part):
                raise ConfigError(
                    f'{option} has no effect: no video is tested, only {" and ".join(_tested(cfg, part))}'
                )
        steps = [copy.deepcopy(step) for step in part['pipeline']]
        kinds = [step.get('type') for step in steps]
        if 'LoadClip' not in kinds:
            raise ConfigError(f'{first}: the test pipeline has no LoadClip, which reads frames and windows')
        load = steps[kinds.index('LoadClip')]
        load.update({f'num_{name}': value for name, value in asked.items() if value and name in ('views', 'windows')})
        if crops:
            _set_crops(steps, kinds, crops)
        if flip and 'FlipViews' not in kinds:
            last = max(place for place, kind in enumerate(kinds) if kind in _FRAME_STEPS)
            steps.insert(last + 1, ConfigDict(type='FlipViews'))
        part['pipeline'] = steps


def _set_crops(steps: list[Any], kinds: list[Any], crops: int) -> None:
    place = next((k for k, kind in enumerate(kinds) if kind in ('CenterCrop', 'SpatialCrops')), None)
    if place is None:
        raise ConfigError(
            f'--crops {crops}: the test pipeline has no CenterCrop whose place they could take; add '
            "dict(type='CenterCrop', size=...) to it"
        )
    step = steps[place]
    if step['type'] == 'CenterCrop' and crops == 1:
        return
    steps[place] = ConfigDict(type='SpatialCrops', size=step['size'], num=crops)
    if isinstance(step['size'], int):
        # scaled once: three crops of the whole frame, not of what is left of a larger one
        for before in steps[:place]:
            key = dict(LoadClip='short_side', Resize='size').get(before['type'])
            if key is not None and isinstance(before.get(key), int) and before[key] > step['size']:
                before[key] = step['size']


def count_test_views(cfg: Mapping[str, Any]) -> dict[str, int]:
    """How many views of a clip the test pipeline of a config makes: ``windows``, ``views``, ``crops``, ``mirrored``.

    Their product is the number of views of video; steps that are not mmav's are not counted.
    """
    counts = dict(windows=1, views=1, crops=1, mirrored=1)
    for part in dicts_within((cfg.get('test_dataloader') or {}).get('dataset')):
        for step in part.get('pipeline', ()):
            if step.get('type') == 'LoadClip':
                counts.update(windows=step.get('num_windows', 1), views=step.get('num_views', 1))
            elif step.get('type') == 'SpatialCrops':
                counts['crops'] = step.get('num', 3)
            elif step.get('type') == 'FlipViews':
                counts['mirrored'] = 2
    return counts


def set_view_options(cfg: Config, *, average: str | None = None, batch: int | None = None, before: int = 1) -> str:
    """Edits how a model averages views and how many it takes at a time; changes ``cfg``.

    Args:
        cfg: The config, with the views that it is tested with.
        average: ``view_average`` of the model.
        batch: ``view_batch`` of the model. Without it, and if the config has none, as many views are taken at a time as
            the config tested before, so that more views need no more memory.
        before: How many these are.

    Returns:
        A line that says how many views there are.

    Raises:
        ConfigError: The model is none that averages views, or there is only one.
    """
    counts = count_test_views(cfg)
    views = math.prod(counts.values())
    model = cfg.get('model') or {}
    options = {'--view-average': average, '--view-batch': batch}
    for option, value in options.items():
        if value is None:
            continue
        if model.get('type') != _CLASSIFIER:
            raise ConfigError(
                f'{option} {value} is for an {_CLASSIFIER}; the model of this config is {model.get("type")!r}'
            )
        if views == 1:
            raise ConfigError(
                f'{option} {value} has no effect: a clip has one view; give --views, --windows, --crops or --flip'
            )
    if batch is not None and batch >= views:
        raise ConfigError(f'--view-batch {batch} has no effect: a clip has {views} views')
    if average is not None:
        model['view_average'] = average
    if model.get('type') == _CLASSIFIER:
        if batch is None and model.get('view_batch') is None and views > before:
            batch = before
        if batch is not None:
            model['view_batch'] = batch
    parts = ' x '.join(f'{number} {name}' for name, number in counts.items() if number > 1)
    at_once = model.get('view_batch')
    told = f'{views} view{"" if views == 1 else "s"} a clip' + (f' ({parts})' if parts else '')
    return told + (f', {at_once} at a time' if at_once else '')


def _test_sets(cfg: Mapping[str, Any], option: str) -> Iterator[Any]:
    parts = [part for part in dicts_within((cfg.get('test_dataloader') or {}).get('dataset')) if 'pipeline' in part]
    if not parts:
        raise ConfigError(f'{option}: the config has no test set with a pipeline')
    yield from parts


def _tested(cfg: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """The modalities that the model gets of a test set."""
    backbones = (cfg.get('model') or {}).get('backbones')
    read = [name for name in part.get('modalities', MODALITIES) if name not in part.get('drop', ())]
    return [name for name in read if not isinstance(backbones, Mapping) or backbones.get(name) is not None]
