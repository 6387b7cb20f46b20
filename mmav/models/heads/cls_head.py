"""Head for one label: a linear layer per stream, with probabilities averaged over the streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError, did_you_mean
from mmav.models.init import DrawnModule
from mmav.models.losses.class_weights import ClassWeights
from mmav.registry import MODELS
from mmav.structures import AVDataSample

AVERAGES = ('arithmetic', 'geometric')


@MODELS.register_module()
class ClsHead(DrawnModule):
    """Classifies each stream with its own linear layer.

    It learns one part of a clip's label. The interface of a head is a dict by part, here with a single entry: ``parts``
    names the parts, ``targets`` and ``predict`` return part -> tensor, ``loss`` and ``write`` take such dicts.

    The loss is the mean of the streams' losses, the prediction the mean of their probabilities. If a clip lacks a
    modality, the stream named after it is left out of that clip's mean.

    With ``average='geometric'`` the prediction is the geometric mean of the probabilities, scaled to a sum of 1: a
    stream can then rule out a class that another finds likely. It is the product rule of Kittler et al. (1998, "On
    Combining Classifiers"), for streams that know different things of a clip, up to the root.

    Args:
        num_classes: Number of classes C.
        in_dims: Stream name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        loss: Config of the loss of logits (B, C) and targets.
        dropout: Probability of dropping an input feature in training.
        part: Which part of a clip's label it learns: 'label' if clips have one label, or for example 'verb'.
        average: 'arithmetic' or 'geometric', the mean of the streams' probabilities that is predicted.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``in_dims`` is missing, ``num_classes`` is below 1, or ``average`` is unknown.
        ConfigError: If the loss is for any number of labels a clip, or has weights for another number of classes.

    Attributes:
        multi_label: Whether a clip has any number of labels; see :class:`~mmav.models.MultiLabelHead`.

    >>> head = ClsHead(num_classes=5, in_dims=dict(fused=8))
    >>> {part: tuple(scores.shape) for part, scores in head.predict(dict(fused=torch.zeros(2, 8))).items()}
    {'label': (2, 5)}
    """

    multi_label: ClassVar[bool] = False
    default_loss: ClassVar[str] = 'CrossEntropyLoss'

    def __init__(
        self,
        num_classes: int,
        in_dims: Mapping[str, int] | None = None,
        loss: dict[str, Any] | None = None,
        *,
        dropout: float = 0.0,
        part: str = 'label',
        average: str = 'arithmetic',
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_dims:
            raise ValueError(f'{type(self).__name__} needs the width of at least one stream, got in_dims={in_dims}')
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f'num_classes={num_classes!r} must be a whole number above 0')
        if average not in AVERAGES:
            raise ValueError(
                f'average={average!r} is unknown: choose {" or ".join(AVERAGES)}{did_you_mean(average, AVERAGES)}'
            )
        self.average = average
        self.num_classes = num_classes
        self.part = part
        self.dropout = nn.Dropout(dropout)
        self.fcs = nn.ModuleDict({name: nn.Linear(dims, num_classes) for name, dims in in_dims.items()})
        self.loss_module = MODELS.build(loss or dict(type=self.default_loss))
        self._check_loss()
        self.draw()

    def _check_loss(self) -> None:
        several = getattr(self.loss_module, 'multi_label', self.multi_label)
        if several != self.multi_label:
            kinds = {True: 'any number of labels a clip', False: 'one label a clip'}
            remedy = 'BCELoss, AsymmetricLoss or FocalLoss' if self.multi_label else 'CrossEntropyLoss'
            raise ConfigError(
                f'head.loss: {type(self.loss_module).__name__} is for {kinds[several]}, {type(self).__name__} for '
                f'{kinds[self.multi_label]}; use {remedy}' + ('' if self.multi_label else ', or MultiLabelHead')
            )
        for module in self.loss_module.modules():
            if isinstance(module, ClassWeights):
                module.fit(self.num_classes)

    @property
    def parts(self) -> dict[str, ClsHead]:
        """Part of the label -> the head that learns it: itself."""
        return {self.part: self}

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns stream name -> logits (B, C), in float32: bfloat16 is too coarse for a softmax over many classes."""
        return {name: fc(self.dropout(streams[name])).float() for name, fc in self.fcs.items()}

    def predict(self, streams: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns part -> probabilities (B, C); ``masks`` maps a modality to (B,), True where the clip has it."""
        return {self.part: self.scores(self(streams), masks)}

    def loss(
        self,
        streams: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Computes the loss.

        Args:
            streams: Stream name -> (B, D).
            targets: Part -> class indices (B,) or soft labels (B, C).
            masks: Modality name -> (B,), True where the clip has it.

        Returns:
            ``loss_cls``, and ``top1``, the share of clips whose most probable class has the largest target.
        """
        logits, target = self(streams), targets[self.part]
        losses = {name: self.loss_module(value, target) for name, value in logits.items()}
        loss = self.mean_over_streams(losses, masks).mean()
        with torch.no_grad():
            key, hit = self.hits(self.scores(logits, masks), target)
            return {'loss_cls': loss, key: hit.float().mean()}

    def hits(self, scores: Tensor, target: Tensor) -> tuple[str, Tensor]:
        """What training logs the share of.

        Args:
            scores: Probabilities (B, C).
            target: Class indices (B,) or soft labels (B, C).

        Returns:
            Its name, and (B,), True where it holds for a clip.
        """
        label = target if target.dim() == 1 else target.argmax(dim=-1)
        return 'top1', scores.argmax(dim=-1) == label

    def targets(self, data_samples: Sequence[AVDataSample]) -> dict[str, Tensor]:
        """Returns part -> class indices (B,), or soft labels (B, C) if the batch was mixed."""
        return {self.part: torch.stack([sample.target(self.part) for sample in data_samples])}

    def write(self, data_samples: Sequence[AVDataSample], scores: Mapping[str, Tensor]) -> None:
        """Writes part -> probabilities (B, C) to B samples."""
        for sample, score in zip(data_samples, scores[self.part], strict=True):
            sample.set_pred_score(score, self.part)

    def scores(self, logits: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> Tensor:
        """Probabilities (B, C) of the streams' logits (B, C), averaged as in :meth:`predict`."""
        if self.average == 'geometric':
            logs = {name: value.log_softmax(dim=-1) for name, value in logits.items()}
            return self.mean_over_streams(logs, masks).softmax(dim=-1)
        return self.mean_over_streams({name: value.softmax(dim=-1) for name, value in logits.items()}, masks)

    def mean_over_streams(self, values: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> Tensor:
        """Mean of (B, ...) over the streams that a clip has, or over all of them if it has none.

        Args:
            values: Stream name -> (B, ...).
            masks: Modality name -> (B,), True where the clip has it.
        """
        names = list(values)
        stacked = torch.stack([values[name] for name in names])  # (streams, B, ...)
        if masks is None or not any(name in masks for name in names):
            return stacked.mean(dim=0)
        present = [masks[name] if name in masks else torch.ones_like(next(iter(masks.values()))) for name in names]
        weights = torch.stack(present).to(stacked.dtype)
        weights = torch.where(weights.sum(dim=0) > 0, weights, torch.ones_like(weights))
        weights = weights.reshape(weights.shape + (1,) * (stacked.dim() - 2))
        return (stacked * weights).sum(dim=0) / weights.sum(dim=0)
