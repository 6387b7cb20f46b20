"""Losses for any number of labels that give less weight to what is easy: asymmetric and focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.models.losses.binary import BinaryLoss
from mmav.registry import MODELS


@MODELS.register_module()
class AsymmetricLoss(BinaryLoss):
    """Asymmetric loss (Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification"), for rare positives.

    With p the sigmoid of the logit and q = max(p - clip, 0), of which negatives below ``clip`` have no loss,

        -y (1 - p)^gamma_pos log p - (1 - y) q^gamma_neg log(1 - q).

    For targets between 0 and 1, from mixed clips, the two powers become one, as in the authors' code
    (Alibaba-MIIL/ASL, src/loss_functions/losses.py): (1 - t)^g with t = y p + (1 - y) (1 - q) and g = y gamma_pos +
    (1 - y) gamma_neg, of the sum of both logarithms. With all three at 0 it is the binary cross-entropy.

    A clip's losses are summed over the classes as there. They also sum over the batch, where the head takes the mean:
    ``loss_weight`` = batch size gives their loss.

    Args:
        gamma_neg: Power for classes that a clip does not have.
        gamma_pos: Power for its classes; 1 is the default of the authors' class, 0 what their training uses.
        clip: Probability that is subtracted from those of classes that a clip does not have; 0 for none.
        focus_gradient: Whether gradients also flow through the powers; not in the authors' training.
        reduction: What is made of a clip's C losses: their 'mean' or their 'sum'.
        loss_weight: Factor of the result.

    Raises:
        ValueError: If a power is negative, ``clip`` is outside [0, 1), or ``reduction`` is unknown.

    >>> AsymmetricLoss()(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]))  # log 2 / 2 + 2 * 0.45^4 * -log 0.55
    tensor([0.3956])
    """

    def __init__(
        self,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        *,
        clip: float = 0.05,
        focus_gradient: bool = False,
        reduction: str = 'sum',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if min(gamma_neg, gamma_pos) < 0 or not 0 <= clip < 1:
            raise ValueError(
                f'gamma_neg={gamma_neg} and gamma_pos={gamma_pos} must not be negative, clip={clip} must lie in [0, 1)'
            )
        self.gamma_neg, self.gamma_pos, self.clip = gamma_neg, gamma_pos, clip
        self.focus_gradient = focus_gradient

    def of_classes(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each clip and class (B, C)."""
        p = logits.sigmoid()
        absent = (1 - p + self.clip).clamp(max=1)  # 1 - q
        # not the logarithm of a probability, which could be 0
        log_absent = absent.log() if self.clip else F.logsigmoid(-logits)
        loss = -target * F.logsigmoid(logits) - (1 - target) * log_absent
        with torch.set_grad_enabled(self.focus_gradient and torch.is_grad_enabled()):
            # away from 0, where a power below 1 has an infinite gradient
            missed = (1 - target * p - (1 - target) * absent).clamp(min=torch.finfo(p.dtype).tiny)
            focus = missed ** (target * self.gamma_pos + (1 - target) * self.gamma_neg)
        return focus * loss


@MODELS.register_module()
class FocalLoss(BinaryLoss):
    """Focal loss of each class (Lin et al. 2017, "Focal Loss for Dense Object Detection"), by the sigmoid.

    a (1 - t)^gamma times the binary cross-entropy, with t = y p + (1 - y) (1 - p), p the sigmoid of the logit, and
    a = y alpha + (1 - y) (1 - alpha): torchvision's ``sigmoid_focal_loss``, also for targets between 0 and 1. The mean
    over the classes, as ``reduction='mean'`` there.

    Args:
        gamma: Power.
        alpha: Weight of the classes that a clip has, against 1 - alpha of the others; None for no weights.
        reduction: What is made of a clip's C losses: their 'mean' or their 'sum'.
        loss_weight: Factor of the result.

    Raises:
        ValueError: If ``gamma`` is negative, ``alpha`` is outside [0, 1], or ``reduction`` is unknown.

    >>> FocalLoss()(torch.zeros(1, 2), torch.tensor([[1.0, 0]]))  # (0.25 + 0.75) / 2 * 0.5^2 * log 2
    tensor([0.0866])
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        *,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(reduction, loss_weight)
        if gamma < 0 or not 0 <= (alpha or 0) <= 1:
            raise ValueError(f'gamma={gamma} must not be negative, alpha={alpha} must lie in [0, 1] or be None')
        self.gamma, self.alpha = gamma, alpha

    def of_classes(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each clip and class (B, C)."""
        p = logits.sigmoid()
        missed = (target * (1 - p) + (1 - target) * p).clamp(min=torch.finfo(p.dtype).tiny)
        loss = missed**self.gamma * F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        if self.alpha is not None:
            loss = (self.alpha * target + (1 - self.alpha) * (1 - target)) * loss
        return loss
