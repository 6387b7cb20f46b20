"""Checks that a config feeds each encoder what its weights expect: normalisation, audio front end, lengths.

What a backbone expects it says by :meth:`~mmav.models.backbones.base.Backbone.expected_of`; one that says nothing takes
anything. An encoder that is fed something else trains and predicts without an error, and badly.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmav.config.check import checks
from mmav.datasets.transforms import CenterCrop, LoadClip, RandomResizedCrop, SpatialCrops, Spectrogram
from mmav.errors import MmavError, one_line
from mmav.models import Backbone
from mmav.models.backbones.base import Expected
from mmav.models.data_preprocessor import BACKBONE, no_norm_stated
from mmav.models.weights.uses import dicts_with
from mmav.registry import MODELS, TRANSFORMS

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# what a backbone is given that takes its input as it is
AS_IT_IS = dict(mean=0.0, std=1.0)
# number of axes of what a front end gives -> what that is, and which step gives it
_RANKS = {1: ('waveforms', "dict(type='Waveform')"), 2: ('spectrograms', 'LogMel or another Spectrogram')}


@checks(None)
def input_problems(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per problem: a norm or a front end that contradicts the backbone, or two sample rates."""
    yield from _sample_rates(cfg)
    model = cfg.get('model')
    backbones = model.get('backbones') if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(backbones, Mapping):
        return
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    norms = preprocessor.get('norm') if isinstance(preprocessor, Mapping) else None
    for name, part in backbones.items():
        kind = class_of(part, MODELS)
        if kind is None or not issubclass(kind, Backbone):
            continue
        place = f'model.backbones.{name}'
        try:
            expected = kind.expected_of({key: value for key, value in part.items() if key != 'type'})
        except (MmavError, ValueError, ImportError) as error:
            yield f'{place}: {one_line(error)}'
            continue
        yield from _norm_problems(norms or {}, name, kind.__name__, expected)
        yield from _pipeline_problems(cfg, name, f'{place} ({kind.__name__})', expected)


def class_of(part: Any, place: Any) -> type | None:
    """The class that a part of a config would be built of; None for anything else."""
    kind = part.get('type') if isinstance(part, Mapping) else None
    try:
        found = place.get(kind) if isinstance(kind, str) else kind
    except RuntimeError:  # MMEngine takes 'a.b' for a module
        return None
    return found if inspect.isclass(found) else None


def _norm_problems(norms: Any, name: str, kind: str, expected: Expected) -> Iterator[str]:
    given = norms.get(name, AS_IT_IS) if isinstance(norms, Mapping) else AS_IT_IS
    if given == BACKBONE:
        if expected.norm is None:
            yield f'model.{no_norm_stated(name, kind)}'
        return
    norm = expected.norm if expected.trained else None
    if norm is None or not isinstance(given, Mapping) or same_norm(given, norm):
        return
    how = f'mean {_plain(given.get("mean"))} and std {_plain(given.get("std"))}' if name in norms else 'none is given'
    yield (
        f'model.data_preprocessor.norm.{name}: {how}, but {kind} was trained with mean '
        f'{_plain(norm["mean"])} and std {_plain(norm["std"])}; set norm.{name}={BACKBONE!r}'
    )


def same_norm(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two normalisations are the same, to the precision at which people write them."""
    try:
        pairs = [np.broadcast_arrays(np.float64(one[key]), np.float64(other[key])) for key in ('mean', 'std')]
    except (KeyError, TypeError, ValueError):  # the preprocessor reports it
        return True
    scale = float(np.min(np.abs(pairs[1][1])))
    return all(bool(np.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * scale)) for ours, theirs in pairs)


def _plain(value: Any) -> str:
    numbers = np.atleast_1d(np.asarray(value, dtype=float)).tolist()
    words = [f'{number:.6g}' for number in numbers]
    return words[0] if len(set(words)) == 1 else f'({", ".join(words)})'


def _pipeline_problems(cfg: Mapping[str, Any], name: str, who: str, expected: Expected) -> Iterator[str]:
    for place, steps in pipelines_of(cfg):
        if name == 'video':
            yield from _frame_problems(place, steps, who, expected)
        elif expected.front_end is not None or expected.size is not None:
            try:
                yield from _front_end_problems(place, steps, who, expected)
            except (MmavError, ValueError, ImportError) as error:
                yield f'{place}: {one_line(error)}'


def pipelines_of(cfg: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[type, Mapping[str, Any]]]]]:
    """Where the pipelines of a config are, and their transforms, those inside others included: class and config."""
    for loader in _LOADERS:
        for place, part in dicts_with('pipeline', cfg.get(loader), loader):
            found = [(class_of(step, TRANSFORMS), step) for _, step in dicts_with('type', part['pipeline'], place)]
            yield f'{place}.pipeline', [(kind, step) for kind, step in found if kind is not None]


def _argument(kind: type, step: Mapping[str, Any], name: str) -> Any:
    """An argument of a transform, or its default."""
    parameter = inspect.signature(kind).parameters.get(name)
    return step.get(name, None if parameter is None else parameter.default)


def _frame_problems(
    place: str, steps: list[tuple[type, Mapping[str, Any]]], who: str, expected: Expected
) -> Iterator[str]:
    if expected.size is None or len(expected.size) != 3:
        return
    frames, *side = expected.size
    crop: tuple[str, tuple[int, ...]] | None = None
    for kind, step in steps:
        if issubclass(kind, LoadClip) and frames not in (None, _argument(kind, step, 'num_frames')):
            found = _argument(kind, step, 'num_frames')
            yield f'{place}: LoadClip gives {found} frames, but {who} takes {frames}; set num_frames={frames}'
        if issubclass(kind, CenterCrop | RandomResizedCrop | SpatialCrops):
            size = _argument(kind, step, 'size')
            pair = (size, size) if isinstance(size, int) else size
            crop = (kind.__name__, tuple(pair)) if isinstance(pair, list | tuple) and len(pair) == 2 else crop
    if crop is not None and any(want not in (None, have) for want, have in zip(side, crop[1], strict=True)):
        wanted = side[0] if side[0] == side[1] else tuple(side)
        yield (
            f'{place}: {crop[0]} gives frames of {crop[1][0]} x {crop[1][1]} pixels, but {who} takes {side[0]} x '
            f'{side[1]}; set size={wanted}'
        )


def _front_end_problems(
    place: str, steps: list[tuple[type, Mapping[str, Any]]], who: str, expected: Expected
) -> Iterator[str]:
    theirs = None if expected.front_end is None else TRANSFORMS.build(dict(expected.front_end))
    for kind, step in steps:
        if not issubclass(kind, Spectrogram):
            continue
        try:
            ours = TRANSFORMS.build(dict(step))
        except TypeError:  # an unknown argument, which the check of signatures reports
            continue
        if theirs is not None and ours.identity() != theirs.identity():
            yield (
                f'{place}: {tell_apart(ours, theirs)}, but {who} expects {tell_apart(theirs, ours)}; use '
                f'{_as_call(expected.front_end)}'
            )
        elif expected.size is not None:
            yield from _length_problems(place, ours, who, expected.size)


def _length_problems(place: str, ours: Spectrogram, who: str, size: tuple[int | None, ...]) -> Iterator[str]:
    name, found = type(ours).__name__, ours.shape
    if len(size) != len(found):
        gives, takes = (_RANKS.get(len(each), ('video', 'LoadClip')) for each in (found, size))
        yield f'{place}: {name} gives {gives[0]}, but {who} reads {takes[0]}; use {takes[1]}'
    elif any(want not in (None, have) for want, have in zip(size, found, strict=True)):
        have, want = (' x '.join('any' if n is None else str(n) for n in each) for each in (found, size))
        yield f'{place}: {name} gives {have} values, but {who} takes {want}, bins and frames'


def tell_apart(one: Spectrogram, other: Spectrogram) -> str:
    """The name of a front end and what tells it from another one."""
    theirs = other.identity()
    own = {key: value for key, value in one.identity().items() if theirs.get(key) != value}
    own.pop('front_end', None)
    return ' with '.join([type(one).__name__, *filter(None, [', '.join(f'{key}={own[key]!r}' for key in own)])])


def _as_call(step: Mapping[str, Any] | None) -> str:
    return f'dict({", ".join(f"{key}={value!r}" for key, value in (step or {}).items())})'


def _sample_rates(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Audio that is read at one rate and understood at another."""
    for place, steps in pipelines_of(cfg):
        rates = {
            base: _argument(kind, step, 'sample_rate')
            for kind, step in steps
            for base in (LoadClip, Spectrogram)
            if issubclass(kind, base)
        }
        read, understood = (rates.get(base) for base in (LoadClip, Spectrogram))
        if isinstance(read, int) and isinstance(understood, int) and read != understood:
            yield (
                f'{place}: LoadClip reads {read} samples a second, its front end expects {understood}; set '
                f'sample_rate={understood} of LoadClip'
            )
