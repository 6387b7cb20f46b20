"""Counts the training clips of each class, for losses whose weights balance them."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmav.class_names import holders
from mmav.errors import ConfigError
from mmav.models.losses.class_weights import ClassWeights
from mmav.structures import as_parts


def balance_losses(model: nn.Module, dataset: Any) -> None:
    """Sets the weights of losses that say ``'balanced'``, and logs them.

    Args:
        model: The model, not wrapped for distribution.
        dataset: The training set, or what wraps or joins it.

    Raises:
        ConfigError: The labels of the dataset are not known.
    """
    for name, head in list(model.named_modules()):
        for weights in (part for part in _weights(head) if part.waiting):
            counts, clips = count_clips(dataset, str(getattr(head, 'part', 'label')), weights.waiting[0])
            for key, values in weights.balance(counts.tolist(), clips).items():
                least, most = int(values.argmin()), int(values.argmax())
                print_log(
                    f"{name}.loss: {key}='balanced' is {values[least]:.4g} (class {least}) to {values[most]:.4g} "
                    f'(class {most}), of {clips} training clips; classes without one: {int((counts == 0).sum())}',
                    'current',
                )


def _weights(head: nn.Module) -> list[ClassWeights]:
    loss = getattr(head, 'loss_module', None)
    return [part for part in loss.modules() if isinstance(part, ClassWeights)] if isinstance(loss, nn.Module) else []


def count_clips(dataset: Any, part: str, who: str) -> tuple[np.ndarray, int]:
    """How many clips of a dataset have each class (C,), and how many there are; one that is repeated counts each time.

    Args:
        dataset: A dataset with a manifest, or what wraps or joins some.
        part: Part of the label.
        who: What needs it, for the error.

    Raises:
        ConfigError: The labels of the dataset are not known.
    """
    counts, number = np.zeros(0, dtype=np.int64), 0
    for leaf, clips in _clips_within(dataset):
        names = as_parts(leaf.metainfo['classes']).get(part)
        if names is None or (len(counts) and len(names) != len(counts)):
            raise ConfigError(f"{who}='balanced' counts the clips of each {part}, of which {leaf.ann_file} has no list")
        counts = counts if len(counts) else np.zeros(len(names), dtype=np.int64)
        times = np.bincount(clips, minlength=len(leaf))
        for index in np.flatnonzero(times).tolist():
            label = leaf.get_data_info(index)['label'][part]
            counts[list(label) if isinstance(label, tuple) else label] += times[index]
        number += len(clips)
    if not number:
        raise ConfigError(
            f"{who}='balanced' counts the clips of each {part}, which {type(dataset).__name__} does not tell: give one "
            'number a class'
        )
    return counts, number


def _clips_within(dataset: Any) -> list[tuple[Any, np.ndarray]]:
    """The datasets with a manifest inside wrappers, and which of their clips an epoch of the wrapper has."""
    if hasattr(dataset, 'clips_within'):  # a wrapper that repeats clips, or leaves some out
        return dataset.clips_within()
    return [(leaf, np.arange(len(leaf))) for leaf in holders(dataset, 'manifest')]
