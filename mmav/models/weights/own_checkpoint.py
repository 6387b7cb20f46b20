"""Extracts an encoder's weights from a checkpoint of ``tools/train.py``, which holds a whole model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from mmav.errors import CheckpointError

KERNEL = 'patch_embed.proj.weight'


def encoders_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoders in a whole model's weights: prefix, such as ``backbones.audio.`` -> kernel of its patches."""
    return {
        match[1]: value for key, value in state.items() if (match := re.fullmatch(rf'(backbones\.\w+\.){KERNEL}', key))
    }


def find_backbone(state: Mapping[str, Tensor], module: nn.Module, source: str = 'the file') -> str:
    """Finds the encoder in a whole model's weights that matches a backbone.

    Args:
        state: Weights of a file.
        module: The backbone that they are for.
        source: File name for messages.

    Returns:
        The prefix of its weights, such as ``backbones.audio.``; empty if the file does not hold a whole model.

    Raises:
        CheckpointError: None or several encoders have patches of the backbone's shape.
    """
    found = encoders_in(state)
    if len(found) < 2:
        return next(iter(found), '')
    own = module.state_dict().get(KERNEL)
    like = [prefix for prefix, value in found.items() if own is not None and value.shape == own.shape]
    if len(like) != 1:
        raise CheckpointError(
            f"'{source}' holds {len(found)} encoders ({', '.join(found)}), of which {len(like)} have patches as "
            f'{type(module).__name__} has: give a checkpoint with one that has'
        )
    return like[0]
