"""Which kernels PyTorch takes for the calls of ``scaled_dot_product_attention`` in a stretch of code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode

from mmav.models.ops.eager import as_autocast
from mmav.models.ops.sdpa_backends import expected_backend


def taken_backend(q: Tensor, k: Tensor, v: Tensor) -> str:
    """The kernel that PyTorch itself says it takes for tensors on a device: ``flash`` and so on, without a mask."""
    choice = SDPBackend(torch._fused_sdp_choice(q, k, v))
    return choice.name.lower().removesuffix('_attention')


def _given(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    *_: Any,
    **__: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, float]:
    """The arguments that decide on the kernel, the tensors as autocast casts them."""
    return as_autocast(query), as_autocast(key), as_autocast(value), attn_mask, dropout_p


class noted_sdpa(TorchFunctionMode):
    """Notes which kernel each call of ``scaled_dot_product_attention`` takes: ``with noted_sdpa() as noted``.

    Args:
        capability: A GPU's, for its rules (:func:`expected_backend`); None for what PyTorch itself says
            (:func:`taken_backend`).

    Attributes:
        calls: Width of queries and keys, width of values, kernel.
    """

    def __init__(self, capability: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.capability = capability
        self.calls: list[tuple[int, int, str]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Notes ``scaled_dot_product_attention``; everything is called as usual."""
        if func is F.scaled_dot_product_attention:
            q, k, v, mask, dropout = _given(*args, **(kwargs or {}))
            if self.capability is None:
                kernel = taken_backend(q, k, v)
            else:
                masked = mask is not None
                kernel = expected_backend(q, k, v, capability=self.capability, dropout=dropout, mask=masked)
            self.calls.append((q.shape[-1], v.shape[-1], kernel))
        return func(*args, **(kwargs or {}))
