"""Head for any number of labels: a linear layer per stream, and a probability for each class by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from mmav.models.heads.cls_head import ClsHead
from mmav.registry import MODELS


@MODELS.register_module()
class MultiLabelHead(ClsHead):
    """Says of each class whether a clip has it: the sigmoid of a linear layer per stream.

    Streams, absent modalities and views are treated as in :class:`ClsHead`; arguments are the same. The dataset needs
    ``multi_label=True``, and the loss has to be one for any number of labels: ``BCELoss``, ``AsymmetricLoss`` or
    ``FocalLoss``.

    With ``average='geometric'`` the prediction is the geometric mean of the streams' probabilities that a clip has the
    class, scaled so that it and that of their opposites add up to 1: the sigmoid of the mean logit.

    Args:
        num_classes: Number of classes C.
        in_dims: Stream name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        loss: Config of the loss of logits (B, C) and targets (B, C); ``BCELoss`` if not given.
        dropout: Probability of dropping an input feature in training.
        part: Which part of a clip's label it learns.
        average: 'arithmetic' or 'geometric', the mean of the streams' probabilities that is predicted.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing, ``num_classes`` is below 1, or ``average`` is unknown.
        ConfigError: If the loss is for one label a clip, or has weights for another number of classes.

    >>> import torch
    >>> head = MultiLabelHead(num_classes=5, in_dims=dict(fused=8))
    >>> scores = head.predict(dict(fused=torch.zeros(2, 8)))['label']
    >>> tuple(scores.shape), bool((scores.sum(dim=1) == 1).all())  # no distribution over the classes
    ((2, 5), False)
    """

    multi_label: ClassVar[bool] = True
    default_loss: ClassVar[str] = 'BCELoss'

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns stream name -> logits (B, C), one yes or no each, in float32."""
        return super().forward(streams)

    def loss(
        self,
        streams: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            streams: Stream name -> (B, D).
            targets: Part -> (B, C) in [0, 1]: 1 for the classes of a clip, and between if the batch was mixed.
            masks: Modality name -> (B,), True where the clip has it.

        Returns:
            ``loss_cls``, and ``hit1``, the share of clips whose most probable class is one of theirs; of mixed clips,
            one of those with the largest target. A clip without a label counts as a miss.
        """
        return super().loss(streams, targets, masks)

    def hits(self, scores: Tensor, target: Tensor) -> tuple[str, Tensor]:
        """As :meth:`ClsHead.hits`, of targets (B, C) in [0, 1]."""
        first = target.gather(1, scores.argmax(dim=-1, keepdim=True))[:, 0]
        return 'hit1', (first > 0) & (first == target.amax(dim=-1))

    def scores(self, logits: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, C), each by itself, of the streams' logits (B, C), averaged as in :meth:`predict`."""
        if self.average == 'geometric':
            return self.mean_over_streams(logits, masks).sigmoid()
        return self.mean_over_streams({name: value.sigmoid() for name, value in logits.items()}, masks)
