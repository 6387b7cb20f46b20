"""``scaled_dot_product_attention`` on a simulated GPU: the operator that the GPU would choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmav.models.ops.eager import as_autocast
from mmav.models.ops.sdpa_backends import assumed, expected_backend


class fused_sdpa(TorchFunctionMode):
    """Makes ``scaled_dot_product_attention`` choose the operator for fake CUDA tensors that a GPU would.

    Without a GPU PyTorch chooses the math form for them, which keeps all scores. In this context memory and operations
    match the kernel of :func:`expected_backend`. Like PyTorch, it casts under autocast and pads rows for the flash
    kernel.

    Args:
        capability: The GPU's compute capability.
    """

    def __init__(self, *, capability: tuple[int, int] = (8, 0)) -> None:
        super().__init__()
        self.capability = capability

    def __enter__(self) -> fused_sdpa:
        assumed.append(self.capability)
        return super().__enter__()

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        assumed.pop()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replaces ``scaled_dot_product_attention``; everything else is called as usual."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return self._attend(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
    ) -> Tensor:
        if is_causal:
            raise ValueError('is_causal=True is not supported here; give a mask')
        q, k, v = tensors = [as_autocast(x) for x in (query, key, value)]
        mask = attn_mask if attn_mask is None or attn_mask.dtype == torch.bool else as_autocast(attn_mask)
        masked, needs_grad = mask is not None, torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        backend = expected_backend(q, k, v, capability=self.capability, dropout=dropout_p, mask=masked)
        return _call_operator(backend, tensors, mask, dropout_p, scale, needs_grad)


def _call_operator(
    backend: str, tensors: Sequence[Tensor], mask: Tensor | None, dropout: float, scale: float | None, needs_grad: bool
) -> Tensor:
    aten = torch.ops.aten
    scale = tensors[0].shape[-1] ** -0.5 if scale is None else scale
    if backend == 'flash':
        width = tensors[2].shape[-1]
        # as PyTorch does around this kernel; no copies where the width needs no padding
        padded = [F.pad(x, (0, -width % 8)) if width % 8 else x for x in tensors]
        return aten._scaled_dot_product_flash_attention(*padded, dropout, False, False, scale=scale)[0][..., :width]
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=tensors[0].dtype).masked_fill(~mask, -math.inf)
    if backend == 'math':
        return aten._scaled_dot_product_attention_math(*tensors, mask, dropout, False, scale=scale)[0]
    if mask is not None:
        mask = mask.expand(*tensors[0].shape[:3], tensors[1].shape[2])
    operator = getattr(aten, f'_scaled_dot_product_{backend}_attention')
    return operator(*tensors, mask, needs_grad, dropout, False, scale=scale)[0]
