"""CAV-MAE's checkpoints: two encoders in one file, each a plain transformer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

NAME = 'CAV-MAE (YuanGongND/cav-mae)'
# its names end in these letters
_LETTERS = dict(audio='a', video='v')


class Stream(NamedTuple):
    """One encoder of a file.

    Attributes:
        weights: Under the names of a plain transformer.
        left_out: Keys of the file that are no part of it.
        grid: What its positions unroll.
    """

    weights: dict[str, Tensor]
    left_out: list[str]
    grid: tuple[int, int]


def is_cav_mae(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of CAV-MAE, pretrained or fine-tuned."""
    return all(f'{name}_{letter}' in state for name in ('pos_embed', 'modality') for letter in _LETTERS.values())


def read_stream(state: Mapping[str, Tensor], modality: str) -> Stream:
    """Extracts the encoder of one modality.

    It computes the same as CAV-MAE's ``forward_feat`` (src/models/cav_mae.py), which its contrastive loss and its
    fine-tuning on one modality compute, too: the blocks of the modality, then the joint ones with the norms that these
    have for the modality, then its last norm. The learned modality embedding is added to the positions. The norms that
    the joint blocks have for both modalities together are no part of it.

    Args:
        state: Weights of a file.
        modality: ``audio`` or ``video``.
    """
    letter = _LETTERS[modality]
    depth = len({key.split('.')[1] for key in state if key.startswith(f'blocks_{letter}.')})
    names = {key: name for key in state if (name := _our_name(key, letter, depth))}
    weights = {name: state[key] for key, name in names.items()}
    weights['pos_embed'] = weights['pos_embed'] + state[f'modality_{letter}']
    left_out = [key for key in state if key not in names and key != f'modality_{letter}']
    number = weights['pos_embed'].shape[1]
    rows = 8 if modality == 'audio' else round(number**0.5)  # 128 mel bins in patches of 16; images are square
    return Stream(weights, left_out, (rows, number // rows))


def _our_name(key: str, letter: str, depth: int) -> str | None:
    """Our name for a weight of the file; None if it is no part of this encoder."""
    if found := re.fullmatch(rf'(patch_embed|pos_embed|norm)_{letter}(\..*)?', key):
        return found[1] + (found[2] or '')
    if found := re.fullmatch(rf'blocks_{letter}\.(\d+\.(?!norm[12]_[av]\.).*)', key):
        return f'blocks.{found[1]}'  # each block has the norms of all modalities and uses one
    if found := re.fullmatch(rf'blocks_u\.(\d+)\.(?:(norm[12])_{letter}|(attn|mlp))\.(.*)', key):
        return f'blocks.{depth + int(found[1])}.{found[2] or found[3]}.{found[4]}'
    return None
