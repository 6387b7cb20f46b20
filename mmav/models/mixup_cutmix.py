"""Mixes the clips of a batch with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.structures import AVDataSample, as_parts


@MODELS.register_module()
class MixupCutmix:
    """Mixes each clip of a batch with another: video, audio and label in the same proportion.

    Mixup (Zhang et al. 2018) blends frames and spectrograms. Cutmix (Yun et al. 2019) pastes a box of the other clip
    into all frames, and a stretch of time with an equal share of the other spectrogram. There is one draw per batch, as
    in the MViTv2 recipe (facebookresearch/SlowFast, slowfast/datasets/mixup.py).

    Labels are mixed as lam y_1 + (1 - lam) y_2, with y one-hot, or 1 for each class of a clip with any number of labels
    (the latter as in YuanGongND/ast, src/dataloader.py).

    Args:
        num_classes: Number of classes C; ``dict(verb=V, noun=N)`` for clips with a verb and a noun.
        mixup_alpha: Parameter of mixup's Beta distribution; 0 for no mixup.
        cutmix_alpha: Parameter of cutmix's Beta distribution; 0 for no cutmix.
        prob: Probability that a batch is mixed at all.
        switch_prob: Probability of cutmix if both are on.

    Raises:
        ValueError: If both parameters are 0 or one is negative.
    """

    def __init__(
        self,
        num_classes: int | Mapping[str, int],
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        *,
        prob: float = 1.0,
        switch_prob: float = 0.5,
    ) -> None:
        if min(mixup_alpha, cutmix_alpha) < 0 or max(mixup_alpha, cutmix_alpha) == 0:
            raise ValueError(f'mixup_alpha={mixup_alpha} and cutmix_alpha={cutmix_alpha}: none negative, one above 0')
        self.num_classes: dict[str, int] = as_parts(num_classes)
        self.alphas = (mixup_alpha, cutmix_alpha)
        self.prob = prob
        self.switch_prob = switch_prob

    def __call__(
        self, inputs: dict[str, Tensor], masks: dict[str, Tensor] | None, data_samples: list[AVDataSample]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, list[AVDataSample]]:
        """Mixes clip i with clip B - 1 - i and writes soft labels (C,) as ``gt_score``, or for verb and noun each.

        Args:
            inputs: Modality -> (B, V, C, ...): the last two axes are H and W of a clip, F and T of a spectrogram.
            masks: Modality -> (B,), or None; a mixed clip has a modality if either source has it. If only one has it,
                that source is used unmixed.
            data_samples: The B samples.
        """
        if torch.rand(()) >= self.prob:
            return inputs, masks, data_samples
        mixup_alpha, cutmix_alpha = self.alphas
        if masks is not None:
            inputs = {name: _fill_absent(value, masks[name]) for name, value in inputs.items()}
            masks = {name: mask | mask.flip(0) for name, mask in masks.items()}
        cut = cutmix_alpha > 0 and (mixup_alpha == 0 or bool(torch.rand(()) < self.switch_prob))
        alpha = cutmix_alpha if cut else mixup_alpha
        lam = float(torch.distributions.Beta(alpha, alpha).sample())
        if cut:
            inputs, lam = self._cutmix(inputs, lam)
        else:
            inputs = {name: value.lerp(value.flip(0), 1 - lam) for name, value in inputs.items()}
        for part, size in self.num_classes.items():
            target = torch.stack([sample.target(part) for sample in data_samples])
            # of clips with any number of labels already 1 for each of theirs (B, C)
            target = F.one_hot(target, size).float() if target.dim() == 1 else target
            if target.shape[1] != size:
                raise ConfigError(
                    f'batch_augment: num_classes={size}, but clips have targets for {target.shape[1]} {part}s'
                )
            for sample, score in zip(data_samples, target.lerp(target.flip(0), 1 - lam), strict=True):
                sample.set_gt_score(score, part)
        return inputs, masks, data_samples

    def _cutmix(self, inputs: dict[str, Tensor], lam: float) -> tuple[dict[str, Tensor], float]:
        """Pastes from the flipped batch; returns the inputs and the remaining share of the first clip."""
        video = inputs.get('video')
        box = None
        if video is not None:
            # the box is clipped at the border, so the share that really remains replaces lam, for the audio, too
            height, width = video.shape[-2:]
            box = self._span(height, (1 - lam) ** 0.5) + self._span(width, (1 - lam) ** 0.5)
            lam = 1 - (box[1] - box[0]) * (box[3] - box[2]) / (height * width)
        mixed = {}
        for name, value in inputs.items():
            if name == 'video' and box is not None:
                region: tuple[Any, ...] = (..., slice(*box[:2]), slice(*box[2:]))
            else:
                length = round((1 - lam) * value.shape[-1])
                start = int(torch.randint(value.shape[-1] - length + 1, ()))
                region = (..., slice(start, start + length))
            mixed[name] = value.clone()
            mixed[name][region] = value.flip(0)[region]
        return mixed, lam

    @staticmethod
    def _span(size: int, share: float) -> tuple[int, int]:
        centre, half = int(torch.randint(size, ())), int(size * share) // 2
        return max(centre - half, 0), min(centre + half, size)


def _fill_absent(value: Tensor, mask: Tensor) -> Tensor:
    """Replaces clip i of (B, ...) with clip B - 1 - i where the mask (B,) is False."""
    return torch.where(mask.view(-1, *(1,) * (value.dim() - 1)), value, value.flip(0))
