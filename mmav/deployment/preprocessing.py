"""Describes, from the test pipeline, how to turn a file into inputs of an exported model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmav.datasets.transforms import CenterCrop, FlipViews, LoadClip, PackAVInputs, Resize, SpatialCrops, Spectrogram
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.errors import ConfigError, one_line
from mmav.mel import FRAME_LENGTH_MS

KNOWN = (LoadClip, Resize, CenterCrop, SpatialCrops, FlipViews, PackAVInputs)


def blank_clip(steps: Sequence[Any], modalities: Sequence[str]) -> dict[str, Tensor]:
    """Runs a clip of zeros through a test pipeline, for shapes and dtypes of the model's inputs.

    Args:
        steps: The built transforms.
        modalities: What the model reads.

    Returns:
        Modality name -> (V, C, ...).

    Raises:
        ConfigError: A step of the pipeline cannot handle it.
    """
    results: dict[str, Any] = dict(path='', label={}, start=None, end=None, sample_idx=0, modalities=tuple(modalities))
    results.update(dropped=(), dropout=(), broken='blank', rng=None)
    try:
        for step in steps:
            results = step(results)
        return dict(results['inputs'])
    except Exception as error:  # a config's own steps can raise anything
        raise ConfigError(f'the test pipeline does not say what the model is fed: {one_line(error)}') from error


def describe_pipeline(
    steps: Sequence[Any],
    config: Sequence[Any],
    modalities: Sequence[str],
    norm: Mapping[str, Mapping[str, list[float]]],
) -> dict[str, Any]:
    """Describes a test pipeline for users without mmav.

    Args:
        steps: The built transforms, which have their defaults.
        config: The transforms in the config; unknown ones are returned as they are.
        modalities: What the exported model reads.
        norm: Modality name -> mean and std that the graph subtracts and divides by.

    Returns:
        ``window``, ``video`` and ``audio``, the operations in order; ``other_steps``, unknown transforms.
    """
    described: dict[str, Any] = {}
    load = next((step for step in steps if isinstance(step, LoadClip)), None)
    if load is not None:
        described['window'] = dict(
            seconds=load.window,
            place='the middle of the clip; a shorter clip is taken whole' if load.window else 'the whole clip',
        )
    if 'video' in modalities:
        described['video'] = _video(steps, load, norm.get('video'))
    if 'audio' in modalities:
        described['audio'] = _audio(steps, load, norm.get('audio'))
    described['other_steps'] = [
        plain(written) for step, written in zip(steps, config, strict=True) if not _is_described(step)
    ]
    return described


def _is_described(step: Any) -> bool:
    return bool(step.describe()) if isinstance(step, Spectrogram) else isinstance(step, KNOWN)


def norm_of(preprocessor: Any) -> dict[str, dict[str, list[float]]]:
    """Modality name -> mean and std, one per channel, of a data preprocessor."""
    return {
        name: {key: getattr(preprocessor, f'{name}_{key}').tolist() for key in ('mean', 'std')}
        for name in preprocessor.modalities
    }


def _video(steps: Sequence[Any], load: LoadClip | None, norm: Mapping[str, list[float]] | None) -> dict[str, Any]:
    video: dict[str, Any] = {}
    if load is not None:
        video['frames'] = load.num_frames
        video['sampling'] = _sampling(load)
        video['views'] = views = load.num_views * load.num_windows * math.prod(map(_copies, steps))
        if load.num_windows > 1:
            video['windows'] = load.num_windows
            video['windows_rule'] = (
                "windows of this length, spread evenly from the clip's start to its end; each has its own audio, and "
                'its views of frames go with it'
            )
        if views > 1:
            video['averaging'] = 'run the model on each view as a clip of its own and average the probabilities'
        video['rotation'] = 'upright: what the file asks for, turning and mirroring, is done'
        if load.short_side is not None:
            video['short_side'] = load.short_side
            video['scaling'] = 'the short side to this number of pixels, the aspect ratio kept, bilinear'
    changes: list[dict[str, Any]] = []
    for step in steps:
        if isinstance(step, Resize):
            changes.append(dict(step='resize', size=step.size, interpolation='bilinear'))
        if isinstance(step, CenterCrop):
            height, width = step.size
            changes.append(dict(step='center_crop', height=height, width=width, too_small='scaled up first, bilinear'))
        if isinstance(step, SpatialCrops):
            height, width = step.size
            changes.append(
                dict(
                    step='spatial_crops',
                    height=height,
                    width=width,
                    number=step.num,
                    rule='scaled, bilinear, until the crop just fits; crop k of K at k / (K - 1) of what is left over '
                    'along the longer side, a single one in the middle',
                )
            )
        if isinstance(step, FlipViews):
            changes.append(dict(step='flip_views', rule='each view, and its mirror image left to right'))
    video['then'] = changes
    video.update(color_order='RGB', value_range=[0, 255], layout='B, C, T, H, W', normalised_in_graph=norm)
    return video


def _copies(step: Any) -> int:
    """How many views a step puts in the place of one."""
    return step.num if isinstance(step, SpatialCrops) else 2 if isinstance(step, FlipViews) else 1


def _sampling(load: LoadClip) -> dict[str, Any]:
    """Times of the frames; view v of V counts from 0."""
    if load.frame_interval is None:
        return dict(
            mode='uniform',
            rule='cut the window into T equal segments; view v of V takes the frame nearest to (v + 0.5) / V of each',
        )
    return dict(
        mode='interval',
        seconds_between_frames=load.frame_interval,
        rule=(
            'frame t of a view at start + t * seconds_between_frames, nearest frame; spare = window - T * '
            'seconds_between_frames, 0 at least; start = spare / 2 for one view, v / (V - 1) * spare for view v of V; '
            "beyond the window's end the last frame is repeated"
        ),
    )


def _audio(steps: Sequence[Any], load: LoadClip | None, norm: Mapping[str, list[float]] | None) -> dict[str, Any]:
    audio: dict[str, Any] = {}
    front_end = find_spectrogram(steps)
    least = max(FRAME_LENGTH_MS, front_end.frame_length_ms if front_end else 0.0)
    if load is not None:
        audio.update(
            sample_rate=load.sample_rate,
            channels='mono: the mean of two channels, of more a downmix by their places, scaled so that it cannot clip',
            span='exactly the window',
            samples='-1 to 1',
            present=f'where the window holds {least:g} ms of audio or more, silent or not; else it is absent',
        )
    if front_end is not None:
        audio.update(front_end.describe())
        audio['target_frames'] = front_end.target_frames
        audio['length'] = front_end.length
    audio.update(layout=f'B, 1, {front_end.axes if front_end else "F, T"}', normalised_in_graph=norm)
    return audio


def plain(value: Any) -> Any:
    """A value that JSON can store: dicts and lists of numbers and text, anything else as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def dtype_name(value: Tensor) -> str:
    """Name of a dtype without its module.

    >>> import torch
    >>> dtype_name(torch.zeros(1, dtype=torch.uint8))
    'uint8'
    """
    return str(value.dtype).removeprefix('torch.')
