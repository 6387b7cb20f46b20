"""Turns collated clips into normalised tensors on the model's device, mixed with each other in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.structures import AVDataSample, as_parts

# instead of a mean and a standard deviation: those that the backbone states
BACKBONE = 'backbone'


def no_norm_stated(modality: str, backbone: str) -> str:
    """What to say of a backbone that is asked for a normalisation and has none of its own."""
    return (
        f'data_preprocessor.norm.{modality}={BACKBONE!r}: {backbone} states no normalisation of its own; give '
        'dict(mean=..., std=...)'
    )


def trim_padding(value: Tensor, columns: int) -> Tensor:
    """Leaves out columns at the end of (B, ..., T) that are zeros in the whole batch, beyond a multiple of ``columns``.

    Front ends pad with exact zeros, before normalisation. At least ``columns`` are left.

    >>> trim_padding(torch.tensor([[1.0, 2, 0, 0, 0, 0], [1, 0, 3, 0, 0, 0]]), 2)
    tensor([[1., 2., 0., 0.],
            [1., 0., 3., 0.]])
    """
    used = value.flatten(0, -2).any(dim=0).nonzero()
    last = int(used[-1]) + 1 if len(used) else 1
    return value[..., : -(-last // columns) * columns]


@MODELS.register_module()
class AVDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, normalises each modality and mixes clips in training.

    Args:
        norm: Modality name -> dict(mean, std), a number or one per channel, in the units of the input: 0 to 255 for
            video, log-mel for audio; or 'backbone' for what the modality's backbone was trained with. A modality
            without an entry is only converted to float.
        batch_augment: Config of the augmentation that mixes the clips of a training batch, such as
            :class:`MixupCutmix`.
        trim: Modality -> number of columns, such as ``dict(audio=50)``: of the columns at the end that are padding in
            every clip of a batch, :func:`trim_padding` leaves out all but what fills a multiple of that number. The
            length of a batch then follows its clips, for backbones that take any length.
        non_blocking: Whether copies to the device may overlap with computation.

    Raises:
        ValueError: If a standard deviation is not above 0, or an entry is neither a dict nor 'backbone'.
    """

    def __init__(
        self,
        norm: Mapping[str, Mapping[str, float | Sequence[float]] | str] | None = None,
        batch_augment: dict[str, Any] | None = None,
        *,
        trim: Mapping[str, int] | None = None,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking)
        for name, columns in (trim or {}).items():
            if not isinstance(columns, int) or columns < 1:
                raise ValueError(f'trim.{name}={columns!r} must be a whole number of columns above 0')
        self.trim = dict(trim or {})
        self.modalities: tuple[str, ...] = ()
        self.of_backbone: tuple[str, ...] = ()
        for name, value in (norm or {}).items():
            if value == BACKBONE:
                self.of_backbone += (name,)
            elif isinstance(value, Mapping) and value.keys() == {'mean', 'std'}:
                self._set_norm(name, value)
            else:
                raise ValueError(f'norm.{name}={value!r}: give dict(mean=..., std=...), or {BACKBONE!r} for its own')
        self.batch_augment = MODELS.build(batch_augment) if batch_augment else None

    def _set_norm(self, name: str, norm: Mapping[str, Any]) -> None:
        for key in ('mean', 'std'):
            value = torch.as_tensor(norm[key], dtype=torch.float32).reshape(-1)
            if key == 'std' and not (value > 0).all():
                raise ValueError(f'norm.{name}.std={norm[key]} must be above 0')
            self.register_buffer(f'{name}_{key}', value, persistent=False)
        self.modalities += (name,)

    def take_norms(self, backbones: Mapping[str, Any]) -> None:
        """Fills in what the backbones state for themselves; those of other modalities are left out.

        Args:
            backbones: Modality name -> backbone.

        Raises:
            ConfigError: A backbone states no normalisation.
        """
        for name in self.of_backbone:
            if name in backbones:
                norm = getattr(getattr(backbones[name], 'expected', None), 'norm', None)
                if norm is None:
                    raise ConfigError(no_norm_stated(name, type(backbones[name]).__name__))
                self._set_norm(name, norm)
        self.of_backbone = ()

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Prepares a batch.

        Args:
            data: ``inputs`` (modality -> (B, V, C, ...)), ``masks`` (modality -> (B,) bool) and ``data_samples``.
            training: Whether clips are mixed.

        Returns:
            The same keys; ``inputs`` in float32, ``masks`` None if every clip has every modality.
        """
        # checked before the copy to the device, as afterwards it would need a synchronisation
        masks = data.get('masks')
        if masks is not None and all(bool(mask.all()) for mask in masks.values()):
            masks = None
        if self.trim:  # before the copy to the device, too
            inputs = {
                name: trim_padding(value, self.trim[name]) if name in self.trim else value
                for name, value in data['inputs'].items()
            }
            data = {**data, 'inputs': inputs}
        data = self.cast_data({**data, 'masks': masks})
        inputs = {name: self.normalise(name, value) for name, value in data['inputs'].items()}
        data_samples, masks = data['data_samples'], data['masks']
        if training and self.batch_augment is not None:
            inputs, masks, data_samples = self.batch_augment(inputs, masks, data_samples)
        return dict(inputs=inputs, masks=masks, data_samples=data_samples)

    def normalise(self, name: str, value: Tensor) -> Tensor:
        """Returns (value - mean) / std of a modality (B, V, C, ...) in float32."""
        given, value = value, value.float()
        if name in self.of_backbone:
            raise ConfigError(f'norm.{name}={BACKBONE!r}: no backbone has said what it expects; see take_norms')
        if name not in self.modalities:
            return value
        shape = (-1,) + (1,) * (value.dim() - 3)
        mean, std = (getattr(self, f'{name}_{key}').view(shape) for key in ('mean', 'std'))
        # in place where nobody else has the values, as new memory costs small models as much as the arithmetic
        moved = value - mean if value is given else value.sub_(mean)
        return moved.div_(std)


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
