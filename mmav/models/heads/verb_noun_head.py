"""Head for two labels, a verb and a noun, as in EPIC-Kitchens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmav.models.heads.cls_head import ClsHead
from mmav.registry import MODELS
from mmav.structures import AVDataSample


@MODELS.register_module()
class VerbNounHead(BaseModule):
    """Two :class:`ClsHead`, one for the verb and one for the noun of a clip.

    The loss is the mean of the two losses, as in public EPIC-Kitchens code (epic-kitchens/epic-kitchens-slowfast,
    tools/train_net.py), so it has the scale of a head with one label. An action is a pair of both; its many scores are
    not stored, :func:`mmav.structures.action_scores` computes them.

    Args:
        num_verbs: Number of verbs.
        num_nouns: Number of nouns.
        in_dims: Stream name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        loss: Config of the loss of logits (B, C) and targets; each part has its own.
        dropout: Probability of dropping an input feature in training.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing or a number of classes is below 1.

    >>> head = VerbNounHead(num_verbs=5, num_nouns=7, in_dims=dict(fused=8))
    >>> {part: tuple(scores.shape) for part, scores in head.predict(dict(fused=torch.zeros(2, 8))).items()}
    {'verb': (2, 5), 'noun': (2, 7)}
    """

    multi_label: ClassVar[bool] = False
    # argument -> the part whose classes it counts, for code that reads configs
    counts: ClassVar[dict[str, str]] = dict(num_verbs='verb', num_nouns='noun')

    def __init__(
        self,
        num_verbs: int,
        num_nouns: int,
        in_dims: Mapping[str, int] | None = None,
        *,
        loss: dict[str, Any] | None = None,
        dropout: float = 0.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.verb = ClsHead(num_verbs, in_dims, loss, dropout=dropout, part='verb')
        self.noun = ClsHead(num_nouns, in_dims, loss, dropout=dropout, part='noun')

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Returns part -> stream name -> logits (B, C)."""
        return {part: head(streams) for part, head in self.parts.items()}

    @property
    def parts(self) -> dict[str, ClsHead]:
        """Part of the label -> the head that learns it."""
        return dict(verb=self.verb, noun=self.noun)

    def predict(self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns probabilities: ``verb`` (B, V) and ``noun`` (B, N); ``masks`` as in :meth:`ClsHead.predict`."""
        return {part: head.predict(streams, masks)[part] for part, head in self.parts.items()}

    def loss(
        self,
        streams: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            streams: Stream name -> (B, D).
            targets: ``verb`` and ``noun``: class indices (B,) or soft labels (B, C).
            masks: Modality name -> (B,), True where the clip has it.

        Returns:
            ``loss_cls``, and ``top1_verb``, ``top1_noun`` as in :meth:`ClsHead.loss`.
        """
        losses = {part: head.loss(streams, targets, masks) for part, head in self.parts.items()}
        mean = torch.stack([each['loss_cls'] for each in losses.values()]).mean()
        return {'loss_cls': mean, **{f'top1_{part}': each['top1'] for part, each in losses.items()}}

    def targets(self, data_samples: Sequence[AVDataSample]) -> dict[str, Tensor]:
        """Returns ``verb`` and ``noun`` of B samples: indices (B,), or soft labels (B, C) if the batch was mixed."""
        return {part: head.targets(data_samples)[part] for part, head in self.parts.items()}

    def write(self, data_samples: Sequence[AVDataSample], scores: Mapping[str, Tensor]) -> None:
        """Writes the probabilities of verbs (B, V) and nouns (B, N) to B samples."""
        for head in self.parts.values():
            head.write(data_samples, scores)
