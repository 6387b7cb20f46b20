"""Running statistics of BatchNorm for averaged weights, recomputed on training data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmav.errors import ConfigError


def layers_with_statistics(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorms whose running statistics training changes; those that ``freeze`` holds in eval mode are left out.

    Args:
        model: The model; it is returned to the mode that it is in.
    """
    training = model.training
    model.train()
    found = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None
    ]
    model.train(training)
    return found


def recompute_statistics(model: Any, batches: Iterable[Any], *, seed: int = 0) -> int:
    """Computes running means and variances anew, in one pass over training data without gradients.

    Each becomes the mean of the batches' own, in training mode, as in ``torch.optim.swa_utils.update_bn`` (Izmailov et
    al. 2018): the mean of several models' statistics is not that of the averaged model. Several processes average
    theirs.

    Args:
        model: A model of MMEngine on its device, not wrapped for distribution; changed in place.
        batches: Collated batches of training.
        seed: Of dropout and mixing.

    Returns:
        The number of batches.

    Raises:
        ConfigError: It has no such layers, or there are no batches.
    """
    layers = layers_with_statistics(model)
    if not layers:
        raise ConfigError(
            f'{type(model).__name__} has no BatchNorm whose statistics train: leave the update of BatchNorm out'
        )
    momenta, training, number = [layer.momentum for layer in layers], model.training, 0
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            for number, batch in enumerate(batches, start=1):
                torch.manual_seed(seed + number)
                model._run_forward(model.data_preprocessor(batch, True), mode='loss')
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(training)
    if not number:
        raise ConfigError('there is no batch of training data to compute the statistics of BatchNorm on')
    for layer in layers:
        for statistics in (layer.running_mean, layer.running_var):
            all_reduce(statistics, op='mean')
    return number
