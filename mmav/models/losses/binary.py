"""Losses for any number of labels a clip: one yes or no for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.models.losses.class_weights import ClassWeights
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
    """Binary cross-entropy of each class: -w_c (v_c y log p + (1 - y) log(1 - p)), with p the sigmoid of the logit.

    The mean over the classes, as torch's ``BCEWithLogitsLoss`` has it (AST, PSLA and CAV-MAE train on AudioSet so); it
    is not divided by the weights w_c and v_c, which are ``weight`` and ``pos_weight`` there.

    Args:
        reduction: What is made of a clip's C losses: their 'mean' or their 'sum'.
        loss_weight: Factor of the result.
        label_smoothing: s in [0, 1]: the target becomes (1 - s) y + s / C, as in timm's ``BinaryCrossEntropy``, and in
            CAV-MAE (src/dataloader.py) for mixed clips; its clips that are not mixed have 1 - s for their classes.
        class_weight: w_c, one number a class in the order of the class list; 'balanced' for N / (C n_c) of N training
            clips of C classes, n_c of which have class c, where a class without a clip counts as one with one. 1 if not
            given.
        pos_weight: v_c, one number a class or one for all; 'balanced' for (N - n_c) / n_c, which gives the clips with a
            class as much weight as those without. 1 if not given.

    Raises:
        ValueError: If ``reduction`` is unknown, ``label_smoothing`` outside [0, 1], or a weight not as described.

    >>> import torch
    >>> BCELoss()(torch.zeros(2, 3), torch.tensor([[1.0, 0, 1], [0, 0, 0]]))
    tensor([0.6931, 0.6931])
    """

    def __init__(
        self,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
        *,
        label_smoothing: float = 0.0,
        class_weight: str | Sequence[float] | None = None,
        pos_weight: str | float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1]')
        self.label_smoothing = label_smoothing
        self.weights = ClassWeights(class_weight=class_weight, pos_weight=pos_weight)

    def of_classes(self, logits: Tensor, target: Tensor) -> Tensor:
        """The binary cross-entropy of each clip and class (B, C)."""
        if self.label_smoothing:
            target = (1 - self.label_smoothing) * target + self.label_smoothing / target.shape[1]
        weight, pos_weight = self.weights.of('class_weight'), self.weights.of('pos_weight')
        return F.binary_cross_entropy_with_logits(logits, target, weight, reduction='none', pos_weight=pos_weight)
