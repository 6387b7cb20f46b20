"""Gathers the batches of all processes into one, for losses that compare clips."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import get_world_size
from torch import Tensor, distributed

from mmav.errors import ConfigError


class _GatherRows(torch.autograd.Function):
    """Concatenates the rows of all processes; scales the gradient of a process's own rows by the number of processes.

    Every process computes the same loss over the whole batch, but its gradient only reaches its own rows. The full
    gradient is the sum over the processes, but DistributedDataParallel averages: hence the factor.
    tests/models/test_gather.py checks that the result equals the gradient of one process with the whole batch.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        parts = [torch.empty_like(x) for _ in range(get_world_size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        start = distributed.get_rank() * ctx.rows
        return grads[0][start : start + ctx.rows] * get_world_size()


def gather_rows(x: Tensor) -> Tensor:
    """Returns the rows of all processes in rank order, with gradients; in a single process ``x`` itself.

    The gradients are correct for wrappers that average them over processes, as DistributedDataParallel does, and for a
    loss that all processes compute alike. All processes must pass the same shape.

    Args:
        x: Floating type, (B, ...).
    """
    return _GatherRows.apply(x) if get_world_size() > 1 else x


def gather_labels(labels: Tensor) -> Tensor:
    """Returns the labels of all processes in rank order; in a single process ``labels`` itself.

    Args:
        labels: Class indices (B,), or soft labels (B, C). If any process has soft labels, because its batch was mixed,
            the labels of the others become one-hot.

    Raises:
        ConfigError: If the processes have batches of different sizes.
    """
    if get_world_size() == 1:
        return labels
    shape = torch.tensor([[labels.shape[0], labels.shape[1] if labels.dim() > 1 else 0]], device=labels.device)
    sizes, classes = gather_rows(shape).T.tolist()
    if len(set(sizes)) > 1:
        raise ConfigError(
            f'the processes have batches of {sizes} clips, but contrastive losses need equal sizes: '
            'set drop_last=True in the train_dataloader'
        )
    if max(classes) > 0 and labels.dim() == 1:
        labels = torch.nn.functional.one_hot(labels, max(classes)).float()
    return gather_rows(labels)
