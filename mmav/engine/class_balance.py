"""Counts the training clips of each class, for losses whose weights balance them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch import nn

from mmav.datasets.class_balanced_sampler import ClassBalancedSampler
from mmav.datasets.class_counts import labels_of
from mmav.errors import ConfigError
from mmav.models.losses.class_weights import ClassWeights


def balance_losses(model: nn.Module, dataset: Any, sampler: Any = None) -> None:
    """Sets the weights of losses that say ``'balanced'``, and logs them.

    Args:
        model: The model, not wrapped for distribution.
        dataset: The training set, or what wraps or joins it.
        sampler: The sampler of its clips; if that balances classes, too, a warning is logged.

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
                if isinstance(getattr(sampler, 'inner', sampler), ClassBalancedSampler):
                    print_log(
                        f"{name}.loss: {key}='balanced' and ClassBalancedSampler both balance classes, so rare ones "
                        'count twice over: leave one of them out, unless that is meant',
                        'current',
                        level=logging.WARNING,
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
    try:
        labels = labels_of(dataset, part)
    except ConfigError as error:
        raise ConfigError(f"{who}='balanced' counts the clips of each {part}: {error}; or give numbers") from error
    return labels.counts, len(labels.ends)
