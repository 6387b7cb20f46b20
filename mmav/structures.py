"""What passes between the parts of mmav: tokens between backbone and neck, samples between data, model and metrics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmav.errors import ConfigError

# Modalities that the library reads by itself; encoders of others can be registered under names of their own.
MODALITIES = ('video', 'audio')


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
    ``pred_label`` (int64, ()). Of a clip with a verb and a noun, the same of each part: ``gt_verb``,
    ``gt_verb_score``, ``pred_verb_score``, ``pred_verb`` and ``gt_noun`` and so on. ``feature`` (D,) and
    ``features``, a dict of name -> (D,), where asked for.
    Meta fields: ``path``; ``start``, ``end`` in seconds; ``sample_idx``, the manifest's row counted from 0;
    ``broken``, the reason why the clip could not be read, or None.

    >>> sample = AVDataSample(metainfo=dict(path='clip.mp4', start=0.0, end=10.0)).set_gt_label(3)
    >>> sample.gt_label, sample.path
    (tensor(3), 'clip.mp4')
    """

    def set_gt_label(self, value: int | Tensor, part: str = 'label') -> AVDataSample:
        """Sets the ground truth, a class index; ``part`` is 'label', 'verb' or 'noun'."""
        self.set_field(torch.as_tensor(value, dtype=torch.int64), f'gt_{part}')
        return self

    def set_gt_score(self, value: Tensor, part: str = 'label') -> AVDataSample:
        """Sets a soft ground truth, one weight a class (C,)."""
        self.set_field(value, f'gt_{_score(part)}')
        return self

    def set_pred_score(self, value: Tensor, part: str = 'label') -> AVDataSample:
        """Sets predicted probabilities (C,) and, from them, ``pred_label``."""
        self.set_field(value, f'pred_{_score(part)}')
        self.set_field(value.argmax(dim=-1), f'pred_{part}')
        return self

    def set_feature(self, value: Tensor) -> AVDataSample:
        """Sets what the head sees of the clip (D,)."""
        self.set_field(value, 'feature')
        return self

    def set_features(self, values: dict[str, Tensor]) -> AVDataSample:
        """Sets features by name (D,), such as ``video``, ``audio`` and ``fused``; none of a modality that is absent."""
        self.set_field(values, 'features')
        return self

    def target(self, part: str = 'label') -> Tensor:
        """Returns the soft ground truth (C,) of a part where there is one, else its class index ().

        Raises:
            ConfigError: If the clip has neither.
        """
        for key in (f'gt_{_score(part)}', f'gt_{part}'):
            if key in self:
                return self.get(key)
        raise ConfigError(
            f'the clip has no {part}, only {sorted(self.keys())}: give the manifest a column {part!r}, or the model '
            'the head for what the manifest has (label: ClsHead, verb and noun: VerbNounHead)'
        )


def action_scores(verb: Tensor, noun: Tensor) -> Tensor:
    """Scores of all pairs: the outer product of probabilities (..., V) and (..., N), of shape (..., V, N).

    The action score of epic-kitchens/C1-Action-Recognition, utils/scoring.py.
    """
    return verb.unsqueeze(-1) * noun.unsqueeze(-2)


def _score(part: str) -> str:
    return 'score' if part == 'label' else f'{part}_score'
