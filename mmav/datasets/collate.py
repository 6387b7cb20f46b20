"""Collates clips into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from mmav.registry import FUNCTIONS


@FUNCTIONS.register_module()
def av_collate(clips: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stacks packed clips.

    Args:
        clips: B results of :class:`mmav.datasets.transforms.PackAVInputs`.

    Returns:
        ``inputs``: dict, modality -> (B, V, ...); ``masks``: dict, modality -> bool (B,); ``data_samples``: list of B.
        Where the clips have ``lengths``, also those: modality -> (B, V); the inputs are padded with zeros to the
        longest.

    Raises:
        ValueError: The clips differ in shape.
    """
    modalities = clips[0]['inputs']
    batch: dict[str, Any] = dict(
        inputs={modality: _stack(clips, modality) for modality in modalities},
        masks={modality: torch.stack([clip['masks'][modality] for clip in clips]) for modality in modalities},
        data_samples=[clip['data_samples'] for clip in clips],
    )
    if 'lengths' in clips[0]:
        batch['lengths'] = {
            name: torch.stack([clip['lengths'][name] for clip in clips]) for name in clips[0]['lengths']
        }
    return batch


def _stack(clips: Sequence[dict[str, Any]], modality: str) -> Tensor:
    tensors = [clip['inputs'][modality] for clip in clips]
    if modality in clips[0].get('lengths', ()):
        longest = max(tensor.shape[-1] for tensor in tensors)
        tensors = [F.pad(x, (0, longest - x.shape[-1])) if x.shape[-1] < longest else x for x in tensors]
    for tensor, clip in zip(tensors, clips, strict=True):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f'{modality} of {clip["data_samples"].path} has shape {tuple(tensor.shape)}, of '
                f'{clips[0]["data_samples"].path} {tuple(tensors[0].shape)}; a batch needs one shape: end the pipeline '
                'with a crop or Resize to (height, width), and LogMel with fixed target_frames'
            )
    # In a worker this stacks directly into shared memory; torch.stack's result would have to be copied there.
    return default_collate(tensors)
