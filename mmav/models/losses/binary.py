"""Losses for any number of labels a clip: one yes or no for each class."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.registry import MODELS


class BinaryLoss(nn.Module):
    """Base of the losses for any number of labels; a subclass has :meth:`of_classes`.

    Args:
        reduction: What is made of a clip's C losses: their 'mean' or their 'sum'.
        loss_weight: Factor of the result.

    Raises:
        ValueError: If ``reduction`` is unknown.
    """

    multi_label: ClassVar[bool] = True

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"reduction={reduction!r}: choose 'mean' or 'sum' over the classes of a clip")
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns one loss per clip (B,), in float32.

        Args:
            logits: (B, C), any floating type.
            target: (B, C) in [0, 1]: 1 for the classes of a clip, and between if the batch was mixed.

        Raises:
            ConfigError: If the target has another shape, such as class indices.
        """
        if logits.shape != target.shape:
            raise ConfigError(
                f'{type(self).__name__} needs a target (B, C) for each class, got {tuple(target.shape)} for logits '
                f'{tuple(logits.shape)}: give the dataset multi_label=True'
            )
        losses = self.of_classes(logits.float(), target.float())
        return self.loss_weight * (losses.mean(dim=-1) if self.reduction == 'mean' else losses.sum(dim=-1))

    def of_classes(self, logits: Tensor, target: Tensor) -> Tensor:
        """The losses of each clip and class (B, C), of float32 logits and targets (B, C)."""
        raise NotImplementedError


@MODELS.register_module()
class BCELoss(BinaryLoss):
    """Binary cross-entropy of each class: -y log p - (1 - y) log(1 - p), with p the sigmoid of the logit.

    The mean over the classes, as torch's ``BCEWithLogitsLoss`` has it (AST, PSLA and CAV-MAE train on AudioSet so).

    Args:
        reduction: What is made of a clip's C losses: their 'mean' or their 'sum'.
        loss_weight: Factor of the result.

    Raises:
        ValueError: If ``reduction`` is unknown.

    >>> import torch
    >>> BCELoss()(torch.zeros(2, 3), torch.tensor([[1.0, 0, 1], [0, 0, 0]]))
    tensor([0.6931, 0.6931])
    """

    def of_classes(self, logits: Tensor, target: Tensor) -> Tensor:
        """The binary cross-entropy of each clip and class (B, C)."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction='none')
