"""Cross-entropy with label smoothing and soft labels."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmav.registry import MODELS


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Cross-entropy per clip, -sum_c y(c) log p(c) (Eq. 7), with y smoothed towards the uniform distribution.

    Args:
        label_smoothing: Weight of the uniform distribution in the target, in [0, 1].
        loss_weight: Factor of the result.

    Raises:
        ValueError: If ``label_smoothing`` is outside [0, 1].

    >>> import torch
    >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([1, 3]))
    tensor([1.3863, 1.3863])
    """

    multi_label: ClassVar[bool] = False

    def __init__(self, label_smoothing: float = 0.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1]')
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns one loss per clip (B,), in float32.

        Args:
            logits: (B, C), any floating type.
            target: Class indices (B,), or soft labels (B, C) that sum to 1.
        """
        loss = F.cross_entropy(logits.float(), target, reduction='none', label_smoothing=self.label_smoothing)
        return self.loss_weight * loss
