"""Mixup in token space: clips of a training batch are mixed after their encoders instead of before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.structures import Tokens


@MODELS.register_module()
class TokenMixup:
    """Mixes the tokens of each clip of a training batch with another's: video, audio and label in the same proportion.

    It is manifold mixup (Verma et al. 2019, "Manifold Mixup: Better Representations by Interpolating Hidden States",
    Eq. 1) at one layer, the last of the encoders: h = lam h_i + (1 - lam) h_j for the class embedding and the patch
    tokens of every modality, y = lam y_i + (1 - lam) y_j, with one lam ~ Beta(alpha, alpha) a batch. As in
    :class:`~mmav.models.MixupCutmix`, clip i is mixed with clip B - 1 - i, and if only one of the two has a modality,
    its tokens are used unmixed.

    Neck, head and ``auxiliary`` parts learn from mixed clips; the encoders see each clip as it is, and the losses of
    ``contrast`` on their class embeddings compare whole clips. So it also works on cached features, where nothing can
    be mixed before.

    Args:
        alpha: Parameter of the Beta distribution: small for shares near 0 and 1, 1 for all shares alike.
        prob: Probability that a batch is mixed at all.

    Raises:
        ValueError: If ``alpha`` is not above 0, or ``prob`` not in (0, 1].
    """

    def __init__(self, alpha: float = 0.4, *, prob: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f'alpha={alpha!r} must be above 0; leave token_mixup out for no mixup')
        if not 0 < prob <= 1:
            raise ValueError(f'prob={prob!r} must lie in (0, 1]; leave token_mixup out for no mixup')
        self.alpha = alpha
        self.prob = prob

    def draw(self, device: torch.device) -> Tensor | None:
        """Returns lam () for a batch, or None where it is not mixed."""
        if torch.rand(()) >= self.prob:
            return None
        # drawn on the CPU and filled in there: copying it would make the CPU wait
        return torch.full((), float(torch.distributions.Beta(self.alpha, self.alpha).sample()), device=device)

    def __call__(
        self,
        tokens: Mapping[str, Tokens],
        targets: Mapping[str, Tensor],
        masks: Mapping[str, Tensor] | None,
        share: Tensor,
        *,
        num_classes: Mapping[str, int],
        views: int = 1,
    ) -> tuple[dict[str, Tokens], dict[str, Tensor], dict[str, Tensor] | None]:
        """Mixes view v of clip i with view v of clip B - 1 - i.

        Args:
            tokens: Modality name -> tokens of B * V clips.
            targets: Part of the label -> class indices (B * V,), or soft or several labels (B * V, C).
            masks: Modality name -> (B * V,), True where the clip has it; None if every clip has every modality.
            share: lam (), the share of clip i.
            num_classes: Part of the label -> C.
            views: V.

        Returns:
            Tokens, soft targets (B * V, C), and masks, True where one of the two clips has the modality.
        """

        def partner(value: Tensor) -> Tensor:
            return value.unflatten(0, (-1, views)).flip(0).flatten(0, 1)

        def mix(value: Tensor) -> Tensor:
            return value.lerp(partner(value), (1 - share).to(value.dtype))

        def mix_present(value: Tensor, mask: Tensor | None) -> Tensor:
            if mask is not None:
                value = torch.where(mask.view(-1, *(1,) * (value.dim() - 1)), value, partner(value))
            return mix(value)

        present = masks or {}
        mixed = {
            name: Tokens(mix_present(cls, present.get(name)), mix_present(patches, present.get(name)), grid)
            for name, (cls, patches, grid) in tokens.items()
        }
        soft = {part: mix(_soft(target, num_classes[part])) for part, target in targets.items()}
        if masks is not None:
            masks = {name: mask | partner(mask) for name, mask in masks.items()}
        return mixed, soft, None if masks is None else dict(masks)


def _soft(target: Tensor, number: int) -> Tensor:
    return F.one_hot(target, number).float() if target.dim() == 1 else target.float()


def build_token_mixup(cfg: dict[str, Any] | None, head: Any, preprocessor: Any) -> TokenMixup | None:
    """Builds ``token_mixup`` of a model's config; None without.

    Args:
        cfg: Such as ``dict(type='TokenMixup', alpha=0.4)``.
        head: The model's head.
        preprocessor: Its data preprocessor.

    Raises:
        ConfigError: The preprocessor mixes the clips, too, or the head does not say how many classes it has.
    """
    if cfg is None:
        return None
    augment = getattr(preprocessor, 'batch_augment', None)
    if augment is not None:
        raise ConfigError(
            f'token_mixup and data_preprocessor.batch_augment={type(augment).__name__} would mix the same clips twice, '
            'four to one: keep one of them'
        )
    for part, each in head.parts.items():
        if not isinstance(getattr(each, 'num_classes', None), int):
            raise ConfigError(
                f'token_mixup makes labels soft and needs the number of classes: {type(each).__name__} for {part} has '
                'no num_classes'
            )
    return MODELS.build(cfg)
