"""Moves steps of a config from its pipelines, which workers run, to its data preprocessor, and back.

Moved, a step runs for a whole batch on the model's device: RandomErasing, LogMel with what follows it. A config that
tells both, or whose parts do not go together, is refused by :mod:`mmav.engine.device_check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from mmav.config.edits import DATALOADERS, dicts_within
from mmav.errors import ConfigError, did_you_mean

# what can be moved: words of --on-device
MOVABLE = ('random_erasing', 'log_mel')
# a step of a pipeline, and what becomes of it: an argument of the data preprocessor
IN_WORKERS = dict(random_erasing='RandomErasing', log_mel='LogMel', spec_augment='SpecAugment')
DEFERRED = 'DeviceLogMel'
_VIEWS, _LAST = 'AudioViews', 'PackAVInputs'


def preprocessor_in(cfg: Any) -> Any:
    """The config of the data preprocessor, which MMEngine also takes from the top level; None if there is none."""
    model = cfg.get('model')
    return (model.get('data_preprocessor') if isinstance(model, Mapping) else None) or cfg.get('data_preprocessor')


def device_steps(cfg: Any) -> dict[str, Any]:
    """The steps that the data preprocessor of a config runs: name of its argument -> their arguments."""
    given = preprocessor_in(cfg)
    if not isinstance(given, Mapping):
        return {}
    return {name: given[name] for name in IN_WORKERS if given.get(name) is not None}


def move_to_device(cfg: Config, names: Sequence[str]) -> None:
    """Lets the data preprocessor run steps of the pipelines; changes ``cfg``.

    Args:
        cfg: A config whose data preprocessor is an AVDataPreprocessor.
        names: Of ``MOVABLE``. ``log_mel`` takes the AudioViews and SpecAugment that follow it along.

    Raises:
        ConfigError: There is no such step, it is moved already, or another step stands in the way.
    """
    for name in names:
        if name not in MOVABLE:
            raise ConfigError(f'--on-device {name}: choose of {", ".join(MOVABLE)}{did_you_mean(name, MOVABLE)}')
    preprocessor = preprocessor_in(cfg)
    if preprocessor is None or preprocessor.get('type') != 'AVDataPreprocessor':
        kind = repr((preprocessor or {}).get('type'))
        raise ConfigError(f'--on-device needs an AVDataPreprocessor, and model.data_preprocessor.type is {kind}')
    for name in dict.fromkeys(names):
        if preprocessor.get(name) is not None:
            raise ConfigError(f'--on-device {name} has no effect: the config has data_preprocessor.{name} already')
        move = _move_erasing if name == 'random_erasing' else _move_log_mel
        if not move(cfg, preprocessor):
            raise ConfigError(f'--on-device {name} has no effect: no pipeline has a {IN_WORKERS[name]}')


def move_to_workers(cfg: Config) -> bool:
    """Lets the pipelines run all steps again that the data preprocessor runs; changes ``cfg``.

    Tools that look at spectrograms or encode clips once do so, as both ways give the same.

    Returns:
        Whether there were any.
    """
    steps = device_steps(cfg)
    for name in steps:
        preprocessor_in(cfg).pop(name)
    masks = dict(steps.get('spec_augment') or {})
    views = masks.pop('num_views', 1)
    for place, pipeline in _pipelines(cfg):
        training = place == DATALOADERS[0]
        for step in [step for step in pipeline if step.get('type') == DEFERRED]:
            step['type'] = IN_WORKERS['log_mel']
            if training and 'spec_augment' in steps:
                at = _index(pipeline, step) + 1
                added = [ConfigDict(type=_VIEWS, num_views=views)] if views > 1 else []
                # views that were made of waveforms stay ahead of the masks
                while at < len(pipeline) and pipeline[at].get('type') == _VIEWS:
                    at += 1
                pipeline[at:at] = [*added, ConfigDict(type=IN_WORKERS['spec_augment'], **masks)]
        if training and 'random_erasing' in steps:
            at = next((k for k, step in enumerate(pipeline) if step.get('type') == _LAST), len(pipeline))
            pipeline.insert(at, ConfigDict(type=IN_WORKERS['random_erasing'], **steps['random_erasing']))
    return bool(steps)


def _move_erasing(cfg: Config, preprocessor: Any) -> bool:
    found = []
    for pipeline in (steps for place, steps in _pipelines(cfg) if place == DATALOADERS[0]):
        here = [step for step in pipeline if step.get('type') == IN_WORKERS['random_erasing']]
        found.append([_options(step) for step in here])
        if len(here) > 1:
            raise ConfigError('--on-device random_erasing: training erases twice: leave both in the pipeline')
        for step in here:
            behind = [str(each.get('type')) for each in pipeline[_index(pipeline, step) + 1 :]]
            if changing := [kind for kind in behind if kind not in _OF_SOUND]:
                raise ConfigError(
                    f'--on-device random_erasing: {changing[0]} follows RandomErasing and would come before it: put '
                    'RandomErasing behind it'
                )
            pipeline.remove(step)
    options = _same(found, 'random_erasing')
    if options:
        preprocessor['random_erasing'] = options[0]
    return bool(options)


def _move_log_mel(cfg: Config, preprocessor: Any) -> bool:
    found, masks = [], []
    for place, pipeline in _pipelines(cfg):
        for step in [step for step in pipeline if step.get('type') == IN_WORKERS['log_mel']]:
            options = _options(step)
            if options.pop('backend', 'native') != 'native':
                raise ConfigError("--on-device log_mel: LogMel has backend='torchaudio', which runs in workers only")
            found.append(options)
            taken = _take_masks(pipeline, _index(pipeline, step) + 1)
            if place == DATALOADERS[0]:
                masks.append(taken)
            elif taken is not None:
                raise ConfigError(f'--on-device log_mel: SpecAugment in {place} would mask no more: leave it out')
            step['type'] = DEFERRED
            step.pop('backend', None)
    mel, mask = _same(found, 'log_mel'), _same(masks, 'log_mel')
    if mel is not None:
        preprocessor['log_mel'] = mel
    if mask is not None:
        preprocessor['spec_augment'] = mask
    return mel is not None


def _same(found: Sequence[Any], name: str) -> Any:
    """What all pipelines have; None if there is no pipeline."""
    if any(each != found[0] for each in found):
        raise ConfigError(
            f'--on-device {name}: not all pipelines have the same {IN_WORKERS[name]} and what follows it, but a model '
            'has one: leave them in the pipelines'
        )
    return found[0] if found else None


def _take_masks(pipeline: list[Any], at: int) -> dict[str, Any] | None:
    """Takes SpecAugment, and AudioViews before it, out of the steps behind a LogMel."""
    behind = [step for step in pipeline[at:] if step.get('type') not in _OF_FRAMES]
    kinds = [step.get('type') for step in behind]
    masks = kinds[-1:] == [IN_WORKERS['spec_augment']]
    if kinds[: len(kinds) - masks] not in ([], [_VIEWS]):
        raise ConfigError(
            f'--on-device log_mel: {", ".join(map(str, kinds))} follow LogMel; only AudioViews and then SpecAugment can'
        )
    if not masks:
        return None
    for step in behind:
        pipeline.remove(step)
    views = behind[0].get('num_views', 2) if kinds[0] == _VIEWS else 1
    return {**_options(behind[-1]), **(dict(num_views=views) if views > 1 else {})}


# what may follow a step that is moved, as it touches the other modality
_OF_SOUND = ('LogMel', DEFERRED, _VIEWS, 'SpecAugment', 'WaveAugment', 'HFSpectrogram', 'Waveform', _LAST)
_OF_FRAMES = (
    *('Resize', 'CenterCrop', 'RandomResizedCrop', 'RandomFlip', 'RandAugment', 'ColorJitter', 'RandomErasing'),
    *('SpatialCrops', 'FlipViews', _LAST),
)


def _options(step: Any) -> dict[str, Any]:
    return {key: value for key, value in step.items() if key != 'type'}


def _index(pipeline: list[Any], step: Any) -> int:
    return next(k for k, each in enumerate(pipeline) if each is step)


def _pipelines(cfg: Any) -> Iterator[tuple[str, list[Any]]]:
    """Each list of steps with the dataloader that it belongs to; a list that several datasets share comes once."""
    seen: set[int] = set()
    for loader in DATALOADERS:
        for part in dicts_within((cfg.get(loader) or {}).get('dataset')):
            if isinstance(part.get('pipeline'), list) and id(part['pipeline']) not in seen:
                seen.add(id(part['pipeline']))
                yield loader, part['pipeline']
