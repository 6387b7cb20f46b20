"""A linear head for each modality beside the model's own: each encoder also learns to classify alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule, ModuleDict
from torch import Tensor

from mmav.errors import ConfigError, did_you_mean
from mmav.models.auxiliary.batch import TrainingBatch, weight_by_modality
from mmav.models.necks.joining import absent_to_zero
from mmav.registry import MODELS
from mmav.structures import AVDataSample, Tokens

POOLS = ('class', 'patches')


@MODELS.register_module()
class UnimodalHeads(BaseModule):
    """One head of the model's kind for each modality, on its tokens before fusion.

    The losses L + sum_m w_m L_m keep a modality learning when the fused head has no more to ask of it: the unimodal
    losses of Gradient-Blending (Wang, Tran, Feiszli 2020, Eq. 1), and what MMPareto and OGM-GE look at. A clip without
    a modality is left out of its loss and of its accuracy.

    Args:
        in_dims: Modality name -> width. :class:`~mmav.models.AVClassifier` fills it in.
        head: Config of the head, without widths. :class:`~mmav.models.AVClassifier` fills in that of the model.
        loss_weight: w_m, one number for all modalities or modality name -> number.
        pool: What a head reads of a modality: 'class', its class embedding, or 'patches', the mean of its patch tokens.
        detach: Whether the encoders learn nothing from these losses: the heads then only measure them.
        in_testing: Whether a tested model has these heads, too, and writes what each modality alone gives of a clip:
            ``alone`` of a sample, modality and part of the label such as ``video/label`` -> probabilities (C,), which
            :class:`~mmav.evaluation.UnimodalAccuracy` measures.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: ``in_dims`` or ``head`` is missing, ``pool`` is unknown, or a weight is negative.
        ConfigError: ``loss_weight`` names other modalities than the model has or is 0 for all, or the head has no
            linear layers and no loss of logits.

    >>> heads = UnimodalHeads(dict(video=8, audio=6), dict(type='ClsHead', num_classes=5), loss_weight=dict(video=0.5))
    >>> heads.loss_weight
    {'video': 0.5, 'audio': 1.0}
    """

    def __init__(
        self,
        in_dims: Mapping[str, int] | None = None,
        head: dict[str, Any] | None = None,
        loss_weight: float | Mapping[str, float] = 1.0,
        *,
        pool: str = 'class',
        detach: bool = False,
        in_testing: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_dims or not head:
            raise ValueError(f'UnimodalHeads needs widths and a head, got in_dims={in_dims}, head={head}')
        if pool not in POOLS:
            raise ValueError(f'pool={pool!r} is unknown: choose {" or ".join(POOLS)}{did_you_mean(pool, POOLS)}')
        self.loss_weight = _weights(loss_weight, list(in_dims))
        self.pool = pool
        self.detach = detach
        self.in_testing = in_testing
        self.heads = ModuleDict({m: MODELS.build({**head, 'in_dims': {m: width}}) for m, width in in_dims.items()})
        for of_modality in self.heads.values():
            for each in of_modality.parts.values():
                if not hasattr(each, 'loss_module') or not hasattr(each, 'hits'):
                    raise ConfigError(
                        f'UnimodalHeads: {type(each).__name__} has no loss of logits for each clip: give the model a '
                        'ClsHead, MultiLabelHead or VerbNounHead, or leave UnimodalHeads out'
                    )

    def logits(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Classifies each modality alone.

        Args:
            tokens: Modality name -> tokens of B clips.
            masks: Modality name -> (B,), True where the clip has it; None if every clip has every modality.

        Returns:
            Part of the label -> modality name -> logits (B, C).

        Raises:
            ConfigError: Patch tokens are to be read, and there are none.
        """
        found: dict[str, Any] = {}
        for m, head in self.heads.items():
            if self.pool == 'patches' and not tokens[m].patches.shape[1]:
                raise ConfigError(
                    f"UnimodalHeads: pool='patches', but {m} has no patch tokens here, as of stored features: "
                    "take pool='class'"
                )
            x = tokens[m].cls if self.pool == 'class' else tokens[m].patches.mean(dim=1)
            if masks is not None and m in masks:
                x = absent_to_zero(x, masks[m])
            x = x.detach() if self.detach else x
            for part, each in head.parts.items():
                found.setdefault(part, {})[m] = each({m: x})[m]
        return found

    def predict(self, tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Modality and part of the label, such as ``video/label`` -> probabilities (B, C)."""
        logits = self.logits(tokens, masks)
        return {
            f'{m}/{part}': each.scores({m: logits[part][m]})
            for m, head in self.heads.items()
            for part, each in head.parts.items()
        }

    @staticmethod
    def write(
        data_samples: Sequence[AVDataSample], scores: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None
    ) -> None:
        """Writes ``alone`` to B samples: of :meth:`predict` what belongs to modalities that a clip has."""
        for i, sample in enumerate(data_samples):
            absent = [m for m, mask in (masks or {}).items() if not mask[i]]
            there = {name: value[i] for name, value in scores.items() if name.split('/')[0] not in absent}
            sample.set_field(there, 'alone')

    def loss(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Computes the losses.

        Args:
            batch: The clips.

        Returns:
            ``loss_video`` and so on, w_m L_m; of several parts of the label the mean. And what the head logs for each
            modality: ``top1_video``, ``top1_verb_video``, ``hit1_video``.
        """
        logits = self.logits(batch.tokens, batch.masks)
        found: dict[str, Tensor] = {}
        for m, head in self.heads.items():
            losses, mask = [], batch.mask_of(m)
            for part, each in head.parts.items():
                value, target = logits[part][m], batch.targets[part]
                losses.append(_mean(each.loss_module(value, target), mask))
                with torch.no_grad():
                    name, hit = each.hits(each.scores({m: value}, None), target)
                    name = name if len(head.parts) == 1 else f'{name}_{part}'
                    found[f'{name}_{m}'] = _mean(hit.float(), mask)
            found[f'loss_{m}'] = self.loss_weight[m] * torch.stack(losses).mean()
        return found


def _weights(given: float | Mapping[str, float], modalities: list[str]) -> dict[str, float]:
    weights = weight_by_modality(given, modalities, 'modalities are')
    for name, value in weights.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float('inf'):
            raise ValueError(f'loss_weight={value!r} of {name}: give a number from 0')
    if not any(weights.values()):
        raise ConfigError(f'loss_weight={given!r} gives no modality a loss: leave UnimodalHeads out')
    return weights


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of (B,) where the mask (B,) is True; 0 if it is nowhere."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / mask.sum().clamp(min=1)
