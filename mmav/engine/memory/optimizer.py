"""Counts the GPU memory of an optimizer on fake tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.engine.memory.meter import MemoryMeter, stored_bytes
from mmav.errors import ConfigError
from mmav.registry import OPTIMIZERS


def optimizer_bytes(options: Mapping[str, Any], trained: Sequence[nn.Parameter]) -> tuple[int, int]:
    """Bytes of an optimizer's state, and peak bytes of its step beyond weights, gradients and state.

    Args:
        options: ``optim_wrapper.optimizer`` of a config.
        trained: The parameters, created within :func:`~mmav.engine.memory.fake_gpu.fake_gpu`. The step runs on one
            parameter of each shape.

    Raises:
        ConfigError: Its step does not run on fake tensors.
    """
    alike: dict[Any, list[nn.Parameter]] = {}
    for parameter in trained:
        alike.setdefault((parameter.shape, parameter.dtype), []).append(parameter)
    few = [nn.Parameter(torch.empty_like(group[0])) for group in alike.values()]
    for parameter in few:
        parameter.grad = torch.empty_like(parameter)
    optimizer, most = _one_step(dict(copy.deepcopy(options)), few)
    states = [[x for x in optimizer.state[p].values() if isinstance(x, Tensor) and x.is_cuda] for p in few]
    state = sum(len(group) * stored_bytes(own) for group, own in zip(alike.values(), states, strict=True))
    return state, most * _numbers(trained) // max(_numbers(few), 1)


def _numbers(parameters: Sequence[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _one_step(options: dict[str, Any], parameters: Sequence[nn.Parameter]) -> tuple[Any, int]:
    """An optimizer after a step, and the step's peak bytes beyond the state."""
    try:
        optimizer = OPTIMIZERS.build(options | dict(params=parameters))
        with MemoryMeter() as meter:
            optimizer.step()
    except (RuntimeError, TypeError, ValueError) as error:  # some read values, which fake tensors lack
        if options.get(
            'fused'
        ):  # not all fused kernels support fake tensors; they keep the same state and use no more memory
            return _one_step(options | dict(fused=False, foreach=False), parameters)[0], 0
        reason = str(error).partition('\n')[0]
        raise ConfigError(
            f'optim_wrapper.optimizer.type={options.get("type")!r}: its step cannot be counted without a GPU '
            f'({reason}); plan with one that keeps as much state, such as AdamW'
        ) from error
    return optimizer, meter.peak - meter.now
