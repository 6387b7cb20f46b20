"""Cross-entropy with label smoothing and soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmav.models.losses.class_weights import ClassWeights
from mmav.registry import MODELS


@MODELS.register_module()
class CrossEntropyLoss(nn.Module):
    """Cross-entropy per clip, -sum_c w_c y(c) log p(c) (Eq. 7), with y smoothed towards the uniform distribution.

    The weights w_c are those of torch's ``cross_entropy``. The head's mean is over the clips, while torch divides by
    the sum of the weights of their classes; those of 'balanced' are 1 on average over the training clips.

    Args:
        label_smoothing: Weight of the uniform distribution in the target, in [0, 1].
        loss_weight: Factor of the result.
        class_weight: w_c, one number a class in the order of the class list; 'balanced' for N / (C n_c) of N training
            clips of C classes, n_c of them of class c (scikit-learn's ``class_weight='balanced'``), where a class
            without a clip counts as one with one. 1 if not given.

    Raises:
        ValueError: If ``label_smoothing`` is outside [0, 1], or ``class_weight`` is not as described.

    >>> import torch
    >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([1, 3]))
    tensor([1.3863, 1.3863])
    """

    multi_label: ClassVar[bool] = False

    def __init__(
        self,
        label_smoothing: float = 0.0,
        loss_weight: float = 1.0,
        *,
        class_weight: str | Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f'label_smoothing={label_smoothing} must lie in [0, 1]')
        self.label_smoothing = label_smoothing
        self.loss_weight = loss_weight
        self.weights = ClassWeights(class_weight=class_weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Returns one loss per clip (B,), in float32.

        Args:
            logits: (B, C), any floating type.
            target: Class indices (B,), or soft labels (B, C) that sum to 1.
        """
        weight = self.weights.of('class_weight')
        loss = F.cross_entropy(logits.float(), target, weight, reduction='none', label_smoothing=self.label_smoothing)
        return self.loss_weight * loss
