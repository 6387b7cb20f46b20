"""Initial values of transformer parameters."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def init_transformer(module: nn.Module, tokens: Iterable[nn.Parameter | None] = (), *, std: float = 0.02) -> None:
    """Initialises in place: linear layers, tokens and relative positions from a truncated normal, biases at zero.

    Convolutions are drawn as PyTorch draws them by default; LayerNorms become the identity.

    Args:
        module: The root.
        tokens: Learned tokens and tables that are parameters rather than layers; None is passed over.
        std: Standard deviation for the linear layers. 0.02, which public code uses at widths of hundreds, leaves layers
            a few dozen wide almost silent. Tokens and relative positions always get 0.02.
    """
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.trunc_normal_(child.weight, std=std)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.LayerNorm):
            child.reset_parameters()
        elif isinstance(child, nn.ParameterList):
            for table in child:
                nn.init.trunc_normal_(table, std=0.02)
    for token in tokens:
        if token is not None:
            nn.init.trunc_normal_(token, std=0.02)
