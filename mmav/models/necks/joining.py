"""What fusion necks do first: class and patch tokens of each modality into sequences of one width, and key masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmav.structures import Tokens


def check_dims(name: str, in_dims: Mapping[str, int] | None, order: Sequence[str]) -> dict[str, int]:
    """Returns the widths of the modalities in the order of ``order``.

    Raises:
        ValueError: If ``in_dims`` and ``order`` name different modalities.
    """
    if in_dims is None or set(in_dims) != set(order):
        raise ValueError(f'{name} needs the widths of {tuple(order)}, got in_dims={in_dims}')
    return {m: in_dims[m] for m in order}


def adapters(in_dims: Mapping[str, int], embed_dims: int) -> nn.ModuleDict:
    """Returns modality name -> the layer that brings its tokens to ``embed_dims``: none where they have that width."""
    return nn.ModuleDict(
        {m: nn.Identity() if dims == embed_dims else nn.Linear(dims, embed_dims) for m, dims in in_dims.items()}
    )


def absent_to_zero(x: Tensor, present: Tensor) -> Tensor:
    """Zeros in x (B, ...) for the clips where ``present`` (B,) is False, whatever stood there, NaN included."""
    return torch.where(present.reshape(-1, *[1] * (x.dim() - 1)), x, torch.zeros((), dtype=x.dtype, device=x.device))


def join(
    tokens: Mapping[str, Tokens], masks: Mapping[str, Tensor] | None, adapt: nn.ModuleDict
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Brings each modality that ``adapt`` names to one sequence, its class token first.

    Args:
        tokens: Modality name -> tokens of the same B clips.
        masks: Modality name -> (B,), True where the clip has that modality; None where all have all.
        adapt: What :func:`adapters` made.

    Returns:
        Modality name -> (B, 1 + N, D), zeros where it is absent; modality name -> key mask (B, 1 + N), True where a
        token may be attended to, and empty without masks.
    """
    streams, key_masks = {}, {}
    for m, layer in adapt.items():
        x = layer(torch.cat((tokens[m].cls[:, None], tokens[m].patches), dim=1))
        if masks is not None:
            x = absent_to_zero(x, masks[m])
            key_masks[m] = masks[m][:, None].expand(-1, x.shape[1])
        streams[m] = x
    return streams, key_masks
