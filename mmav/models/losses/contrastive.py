"""Contrastive losses between modalities (AVC, AL) and between two views of one modality (IMC, IM-AL)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmav.errors import ConfigError
from mmav.models.losses.agreement import PAIR_WEIGHTS, agreement, check_pair_weight, common_labels
from mmav.registry import MODELS


class ContrastiveLoss(nn.Module):
    """Base of the four losses: a softmax over similarities selects each embedding's positives from the batch.

    For an anchor i with the similarities s_ij of unit vectors and the weights w_ij of its positives, the loss is

        l_i = -sum_j w_ij log(exp(s_ij / tau) / sum_k exp(s_ik / tau)) / sum_j w_ij,

    with the average over the positives outside the logarithm (Khosla et al. 2020, Eq. 2). The result is the mean over
    the anchors that have a positive; 0, with a gradient of 0, if none has. The paper prints exp(s) / tau, where tau
    cancels; here it divides s.

    The weight is 1 for positives and 0 for others. For soft labels (mixup, cutmix) it is the inner product of the two
    label distributions, the probability that labels drawn from them agree; one-hot labels again give 1 and 0. Where
    clips have any number of labels, ``pair_weight`` of the losses of a category says what it is, see
    :func:`~mmav.models.losses.agreement.common_labels`; a clip without a label has no positive, not even itself.

    Args:
        tau: Temperature.
        loss_weight: Factor of the result.

    Raises:
        ValueError: If ``tau`` is not above 0.
    """

    key = ''  # name of the result

    def __init__(self, tau: float = 0.07, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not tau > 0:
            raise ValueError(f'tau={tau} must be above 0')
        self.tau = tau
        self.loss_weight = loss_weight

    def forward(
        self,
        embeddings: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None = None,
        *,
        multi_label: Collection[str] = (),
    ) -> dict[str, Tensor]:
        """Computes the loss in float32 for any type of embeddings, even under autocast; in float64 for float64.

        Args:
            embeddings: Modality name -> (B, V, D), B clips with V views of that modality, not normalised.
            labels: Part of the label -> class indices (B,), or soft labels (B, C). With several parts a category is
                their combination, and the weight of a pair is the product of its weights for each part.
            masks: Modality name -> (B,), True where the clip has it. Absent modalities are neither anchors nor
                candidates.
            multi_label: Parts of which clips have any number of labels (B, C), 1 for each, or between if mixed. Only
                the head knows it: numbers alone do not tell mixed clips of one label from clips of two.

        Returns:
            Name -> loss ().

        Raises:
            ConfigError: If the loss does not support these numbers of modalities or views, or ``pair_weight`` is given
                and clips have one label.
        """
        first = next(iter(embeddings.values()))
        with torch.autocast(first.device.type, enabled=False):
            present = {
                m: torch.ones(x.shape[0], dtype=torch.bool, device=x.device) if masks is None else masks[m]
                for m, x in embeddings.items()
            }
            units = {m: _unit_vectors(x, present[m]) for m, x in embeddings.items()}
            weights = self._weights(labels, multi_label).to(device=first.device, dtype=next(iter(units.values())).dtype)
            return {name: self.loss_weight * loss for name, loss in self._losses(units, weights, present).items()}

    def _weights(self, labels: Mapping[str, Tensor], multi_label: Collection[str]) -> Tensor:
        """Weight (B, B) of each pair of clips as positives of each other: that they are the same clip."""
        first = next(iter(labels.values()))
        return torch.eye(len(first), device=first.device)

    def _losses(self, units: Mapping[str, Tensor], weights: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named losses of unit vectors (B, V, D); ``weights`` (B, B) and ``present`` (B,) are per clip."""
        raise NotImplementedError


class _OfCategory(ContrastiveLoss):
    """All clips of the same category are positives of each other."""

    def __init__(self, tau: float = 0.07, loss_weight: float = 1.0, *, pair_weight: str | None = None) -> None:
        super().__init__(tau, loss_weight)
        check_pair_weight(pair_weight)
        self.pair_weight = pair_weight

    def _weights(self, labels: Mapping[str, Tensor], multi_label: Collection[str]) -> Tensor:
        if self.pair_weight is not None and not multi_label:
            raise ConfigError(
                f'{type(self).__name__}: pair_weight={self.pair_weight!r} has no effect on clips with one label: leave '
                'it out, or give the model a MultiLabelHead'
            )
        kind = self.pair_weight or PAIR_WEIGHTS[0]
        weights = [
            common_labels(values, kind) if part in multi_label else agreement(values) for part, values in labels.items()
        ]
        return torch.stack(weights).prod(dim=0)


class _CrossModal(ContrastiveLoss):
    """Anchors of one modality, candidates of the other, averaged over both directions and all pairs of modalities."""

    def _losses(self, units: Mapping[str, Tensor], weights: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if len(units) < 2:
            raise ConfigError(f'{type(self).__name__} compares modalities, but the model has only {list(units)}')
        losses = []
        for a, b in combinations(units, 2):
            views = (units[a].shape[1], units[b].shape[1])
            similarity = units[a].flatten(0, 1) @ units[b].flatten(0, 1).T / self.tau  # (B * V_a, B * V_b)
            pairs = _per_view(weights, *views)
            allowed = _per_view(present[a][:, None] & present[b], *views)
            losses.append(multi_positive_loss(similarity, pairs, allowed))
            losses.append(multi_positive_loss(similarity.T, pairs.T, allowed.T))
        return {self.key: torch.stack(losses).mean()}


class _IntraModal(ContrastiveLoss):
    """Compares each of the 2 B views of a modality with the other 2 B - 1, never with itself."""

    def _losses(self, units: Mapping[str, Tensor], weights: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for m, x in units.items():
            batch, views = x.shape[:2]
            if views != 2:
                raise ConfigError(
                    f'{type(self).__name__} compares 2 views of each modality, {m} has {views}: set num_views=2 in the '
                    "training pipeline's LoadClip (video), and add dict(type='AudioViews', num_views=2) (audio)"
                )
            similarity = x.flatten(0, 1) @ x.flatten(0, 1).T / self.tau  # (2 B, 2 B)
            others = ~torch.eye(views * batch, dtype=torch.bool, device=x.device)
            allowed = _per_view(present[m][:, None] & present[m], views, views) & others
            loss = multi_positive_loss(similarity, _per_view(weights, views, views), allowed)
            losses[f'{self.key}_{m}'] = loss / len(units)
        return losses


@MODELS.register_module()
class AVCLoss(_OfCategory, _CrossModal):
    """Audio-video contrastive loss (Eq. 3): all pairs of audio and video of the same category are positives.

    Gives ``avc``. See :class:`ContrastiveLoss` for the formula and the arguments of a call.

    Args:
        tau: Temperature.
        loss_weight: Factor of the result; lambda_1 = 0.25 in Eq. 8.
        pair_weight: Weight of two clips with any number of labels, A and B: 'jaccard', the default there, for
            |A and B| / |A or B|, or 'shared' for 1 if they have a label in common. Not for clips with one label.

    >>> clips = torch.eye(2)[:, None]  # (B, V, D)
    >>> AVCLoss(tau=1.0)(dict(video=clips, audio=clips), dict(label=torch.tensor([0, 1])))
    {'avc': tensor(0.3133)}
    """

    key = 'avc'


@MODELS.register_module()
class ALLoss(_CrossModal):
    """Alignment loss (Li et al. 2021, ALBEF, without momentum queue): only audio and video of the same clip match.

    Gives ``al``. See :class:`ContrastiveLoss` for the formula and the arguments of a call.

    Args:
        tau: Temperature.
        loss_weight: Factor of the result.
    """

    key = 'al'


@MODELS.register_module()
class IMCLoss(_OfCategory, _IntraModal):
    """Intra-modal contrastive loss (Eq. 4): within a modality all views of the same category are positives.

    Gives ``imc_<modality>``, each divided by the number of modalities, so that their sum is their mean (Eq. 8).
    See :class:`ContrastiveLoss` for the formula and the arguments of a call; each modality must have 2 views.

    Args:
        tau: Temperature.
        loss_weight: Factor of the result; lambda_2 = 0.25 in Eq. 8.
        pair_weight: Weight of two clips with any number of labels, as of :class:`AVCLoss`.
    """

    key = 'imc'


@MODELS.register_module()
class IMALLoss(_IntraModal):
    """Intra-modal alignment loss (Yang et al. 2022): a view's only positive is the other view of its clip.

    Gives ``imal_<modality>``, each divided by the number of modalities, so that their sum is their mean.
    See :class:`ContrastiveLoss` for the formula and the arguments of a call; each modality must have 2 views.

    Args:
        tau: Temperature.
        loss_weight: Factor of the result.
    """

    key = 'imal'


def multi_positive_loss(similarity: Tensor, weights: Tensor, allowed: Tensor) -> Tensor:
    """Softmax loss with several weighted positives per anchor, averaged outside the logarithm.

    Args:
        similarity: Similarities of anchors and candidates, divided by the temperature, (N, M).
        weights: Weights of the positives (N, M), at least 0.
        allowed: Pairs that take part, (N, M) bool; the others count neither as positives nor in the softmax.

    Returns:
        The mean over the anchors with a positive, (); 0 if there is none.
    """
    weights = weights * allowed
    # the lowest finite number rather than -inf: with -inf, a row without candidates has NaN gradients
    candidates = similarity.masked_fill(~allowed, torch.finfo(similarity.dtype).min)
    log_probs = (similarity - candidates.logsumexp(dim=1, keepdim=True)).masked_fill(~allowed, 0.0)
    total = weights.sum(dim=1)
    has_positive = total > 0
    per_anchor = -(weights * log_probs).sum(dim=1) / torch.where(has_positive, total, 1.0)
    return per_anchor.sum() / has_positive.sum().clamp(min=1)


def _unit_vectors(x: Tensor, present: Tensor) -> Tensor:
    """Normalises (B, V, D); absent clips become 0, as their content, even NaN, must not reach a gradient."""
    x = x if x.dtype == torch.float64 else x.float()
    return F.normalize(x.masked_fill(~present[:, None, None], 0.0), dim=-1)


def _per_view(pairs: Tensor, rows: int, columns: int) -> Tensor:
    """(B, B) of clips -> (B * rows, B * columns) of their views."""
    return pairs.repeat_interleave(rows, dim=0).repeat_interleave(columns, dim=1)
