"""What passes between the parts of mmav: tokens between backbone and neck, samples between data, model and metrics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


class Tokens(NamedTuple):
    """What every backbone returns, whatever its flags.

    Attributes:
        cls: Class embedding (B, D); the mean of the patch tokens where the backbone has no class token.
        patches: Patch tokens (B, N, D).
        grid: What N unrolls, in row-major order: (T, H, W) for video, (F, T) for a spectrogram.
    """

    cls: Tensor
    patches: Tensor
    grid: tuple[int, ...]


class AVDataSample(BaseDataElement):
    """Ground truth, prediction and origin of one clip.

    Data fields: ``gt_label`` (int64, ()), ``gt_score`` (C,) where labels are soft, ``pred_score`` (C,) probabilities,
    ``pred_label`` (int64, ()).
    Meta fields: ``path``; ``start``, ``end`` in seconds; ``sample_idx``, the manifest's row counted from 0;
    ``broken``, the reason why the clip could not be read, or None.

    >>> sample = AVDataSample(metainfo=dict(path='clip.mp4', start=0.0, end=10.0)).set_gt_label(3)
    >>> sample.gt_label, sample.path
    (tensor(3), 'clip.mp4')
    """

    def set_gt_label(self, value: int | Tensor) -> AVDataSample:
        """Sets the ground truth, a class index."""
        self.set_field(torch.as_tensor(value, dtype=torch.int64), 'gt_label')
        return self

    def set_gt_score(self, value: Tensor) -> AVDataSample:
        """Sets a soft ground truth, one weight a class (C,)."""
        self.set_field(value, 'gt_score')
        return self

    def set_pred_score(self, value: Tensor) -> AVDataSample:
        """Sets predicted probabilities (C,) and, from them, ``pred_label``."""
        self.set_field(value, 'pred_score')
        self.set_field(value.argmax(dim=-1), 'pred_label')
        return self
