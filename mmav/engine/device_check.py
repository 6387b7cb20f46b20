"""Checks that the steps which a data preprocessor runs on the device, and those of the pipelines, make a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmav.config.check import checks
from mmav.config.device_steps import DEFERRED, IN_WORKERS, device_steps, preprocessor_in
from mmav.datasets.transforms import DeviceLogMel, LogMel, RandomErasing, SpecAugment, Spectrogram, WaveAugment
from mmav.engine.input_check import class_of, pipelines_of
from mmav.errors import ConfigError
from mmav.models.data_preprocessor import NO_LOG_MEL, AVDataPreprocessor, build_step
from mmav.registry import MODELS, TRANSFORMS

_TRAINING = 'train_dataloader'
# arguments of a LogMel and where it keeps them
_ARGUMENTS = dict(
    num_mel_bins='num_bins',
    target_frames='target_frames',
    sample_rate='sample_rate',
    frame_shift_ms='frame_shift_ms',
    per_clip='per_clip',
)
_TAKEN_OVER = dict(random_erasing=RandomErasing, spec_augment=SpecAugment)


@checks(None)
def device_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per step that would run twice, never, or on something else than it is for."""
    kind = class_of(preprocessor_in(cfg), MODELS)
    steps = device_steps(cfg) if kind is None or issubclass(kind, AVDataPreprocessor) else {}
    wrong = {name: problem for name, options in steps.items() if (problem := _problem(name, options))}
    yield from (f'model.{problem}' for problem in wrong.values())
    if 'spec_augment' in steps and 'log_mel' not in steps:
        yield f'model.{NO_LOG_MEL}'
    model = cfg.get('model')
    backbones = model.get('backbones') if isinstance(model, Mapping) else None
    for name, modality in dict(random_erasing='video', log_mel='audio').items():
        if name in steps and isinstance(backbones, Mapping) and not backbones.get(modality):
            yield f'model.data_preprocessor.{name} has no effect: the model reads no {modality}; leave it out'
    for place, found in pipelines_of(cfg):
        yield from _twice(place, [kind for kind, _ in found], steps)
        yield from _of_one_kind(place, found, None if 'log_mel' in wrong else steps.get('log_mel'), 'log_mel' in steps)


def device_note(model: Any) -> str | None:
    """A line for the log of training on a CPU, where steps on the device only move work out of the data workers.

    Args:
        model: The model, not wrapped for distribution.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not isinstance(preprocessor, AVDataPreprocessor) or preprocessor.device.type != 'cpu':
        return None
    names = [name for name in IN_WORKERS if getattr(preprocessor, name, None) is not None]
    if not names:
        return None
    return (
        f'data_preprocessor.{" and ".join(names)} run in the training process: without a GPU that is no gain, as data '
        'workers could run them beside it'
    )


def _problem(name: str, options: Any) -> str:
    try:
        build_step(name, options)
    except ConfigError as error:
        return str(error)
    return ''


def _twice(place: str, kinds: list[type], steps: Mapping[str, Any]) -> Iterator[str]:
    """Steps of a training pipeline that the preprocessor runs, too."""
    for name, kind in _TAKEN_OVER.items():
        if name in steps and place.startswith(_TRAINING) and any(issubclass(each, kind) for each in kinds):
            yield (
                f'{place}: {kind.__name__} runs here, and again on the device as data_preprocessor.{name}: leave one '
                'of them out'
            )


def _of_one_kind(
    place: str, found: list[tuple[type, Mapping[str, Any]]], options: Mapping[str, Any] | None, computed: bool
) -> Iterator[str]:
    """A front end that leaves its spectrograms to the preprocessor, which has to compute the same ones."""
    for k, (kind, step) in enumerate(found):
        if not issubclass(kind, Spectrogram):
            continue
        if not issubclass(kind, DeviceLogMel):
            if computed:
                yield (
                    f'{place}: {kind.__name__} runs here, and data_preprocessor.log_mel needs waveforms: use '
                    f'dict(type={DEFERRED!r}) with the same arguments, or leave data_preprocessor.log_mel out'
                )
            continue
        if not computed:
            yield (
                f'{place}: {DEFERRED} gives waveforms, and data_preprocessor has no log_mel that computes their '
                f'spectrograms: give it the same arguments, or use {IN_WORKERS["log_mel"]}'
            )
        elif options is not None:
            yield from _differing(place, step, options)
        wrong = [each for each, _ in found[k + 1 :] if issubclass(each, SpecAugment | WaveAugment)]
        if wrong:
            instead = 'use data_preprocessor.spec_augment' if issubclass(wrong[0], SpecAugment) else 'put it before'
            yield f'{place}: {wrong[0].__name__} follows {DEFERRED}, which gives waveforms: {instead}'


def _differing(place: str, step: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    try:
        here, there = TRANSFORMS.build(dict(step)), LogMel(**options)
    except (TypeError, ValueError):  # the check of signatures reports it
        return
    for name, attribute in _ARGUMENTS.items():
        one, other = (getattr(each, attribute) for each in (here, there))
        if one != other:
            yield (f'{place}: {DEFERRED} has {name}={one!r}, data_preprocessor.log_mel {other!r}: give both the same')
