"""What a training step knows of its clips once the model has seen them: what auxiliary parts compute losses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mmav.errors import ConfigError, did_you_mean
from mmav.structures import Tokens


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """B clips of V views, each view a clip of its own: B * V rows, clip by clip.

    Attributes:
        inputs: Modality name -> (B, V_m, C, *size), after the preprocessor. V_m is V, or a divisor of it: each view of
            such a modality then goes with V / V_m consecutive views of the others.
        tokens: Modality name -> tokens of B * V rows, before fusion, repeated where V_m is smaller.
        streams: Stream name -> (B * V, D), what the neck returned.
        targets: Part of the label -> class indices (B * V,), or soft labels (B * V, C).
        masks: Modality name -> (B * V,), True where the clip has it; None if every clip has every modality.
        views: V.
        head: The model's head.
        before_mixup: Tokens and masks of the clips before ``token_mixup`` mixed them, where it has: ``tokens``,
            ``streams``, ``targets`` and ``masks`` are then of mixed clips, ``inputs`` are not.
    """

    inputs: Mapping[str, Tensor]
    tokens: Mapping[str, Tokens]
    streams: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] | None
    views: int
    head: Any
    before_mixup: tuple[Mapping[str, Tokens], Mapping[str, Tensor] | None] | None = None

    @property
    def whole(self) -> tuple[Mapping[str, Tokens], Mapping[str, Tensor] | None]:
        """Tokens and masks of the clips in ``inputs``, also where ``token_mixup`` mixes."""
        return (self.tokens, self.masks) if self.before_mixup is None else self.before_mixup

    @cached_property
    def logits(self) -> dict[str, dict[str, Tensor]]:
        """Part of the label -> stream name -> the head's logits (B * V, C), with a dropout mask of their own."""
        return {part: head(self.streams) for part, head in self.head.parts.items()}

    @cached_property
    def probabilities(self) -> dict[str, Tensor]:
        """Part of the label -> the head's probabilities (B * V, C), with a dropout mask of their own."""
        return self.head.predict(self.streams, self.masks)

    def mask_of(self, modality: str) -> Tensor | None:
        """Which rows have a modality (B * V,), or None if all have."""
        return None if self.masks is None else self.masks.get(modality)


def weight_by_modality(given: float | Mapping[str, float], modalities: list[str], known: str) -> dict[str, float]:
    """The weight of each modality's loss, where one number is that of all and 1 that of those not named.

    Args:
        given: A number, or modality -> number.
        modalities: Those that have a loss.
        known: What they are, for the error: 'modalities are'.

    Raises:
        ConfigError: A name is none of them.
    """
    for name in given if isinstance(given, Mapping) else ():
        if name not in modalities:
            raise ConfigError(
                f'loss_weight has {name!r}, but the {known} {" and ".join(modalities)}{did_you_mean(name, modalities)}'
            )
    return {m: given.get(m, 1.0) if isinstance(given, Mapping) else given for m in modalities}
