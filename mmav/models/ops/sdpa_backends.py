"""Which kernel PyTorch chooses for ``scaled_dot_product_attention`` on a GPU.

The rules are those of PyTorch 2.14 (aten/src/ATen/native/transformers/cuda/sdp_utils.cpp and sdp_utils_cpp.h) with the
cuDNN 9.24 in its wheels for CUDA 13. They predict a GPU's choice without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BACKENDS = ('cudnn', 'flash', 'efficient', 'math')
# The widest head that the flash kernels support.
FLASH_WIDTH = 256
HALF_TYPES = (torch.float16, torch.bfloat16)


def _switched_on() -> tuple[str, ...]:
    """The enabled backends; all of them under a compiler, which cannot trace the switches."""
    if torch.compiler.is_compiling():
        return BACKENDS
    strict = torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    switches = dict(
        cudnn=torch.backends.cuda.cudnn_sdp_enabled() and not strict,
        flash=torch.backends.cuda.flash_sdp_enabled(),
        efficient=torch.backends.cuda.mem_efficient_sdp_enabled(),
        math=True,
    )
    return tuple(name for name, on in switches.items() if on)


@dataclass(frozen=True)
class _Call:
    """One call of attention: tensors (B, heads, N, d), and whatever else the rules depend on."""

    q: Tensor
    k: Tensor
    v: Tensor
    capability: tuple[int, int]
    dropout: float
    mask: bool

    @property
    def widths(self) -> tuple[int, int]:
        """The widths of queries and keys, and of values."""
        return self.q.shape[-1], self.v.shape[-1]

    @property
    def needs_grad(self) -> bool:
        """Whether there will be a backward pass."""
        return torch.is_grad_enabled() and any(x.requires_grad for x in (self.q, self.k, self.v))

    def fits_fused(self, dtypes: Sequence[torch.dtype], *, stride_of_one_column: bool) -> bool:
        """Whether the call meets the requirements of all fused kernels."""
        tensors = (self.q, self.k, self.v)
        if not all(x.dim() == 4 and x.dtype == self.q.dtype for x in tensors) or self.q.dtype not in dtypes:
            return False
        if self.q.shape[:2] != self.k.shape[:2] or self.q.shape[:2] != self.v.shape[:2]:
            return False
        if not self.q.shape[2] or not self.k.shape[2] or self.q.shape[-1] != self.k.shape[-1]:
            return False
        # the last axis has to be contiguous; for some kernels a single column always is
        return all(x.stride(-1) == 1 for x in tensors) or (stride_of_one_column and self.q.shape[-1] == 1)


def _cudnn_takes(call: _Call) -> bool:
    if not (8, 0) <= call.capability <= (12, 1) or not call.fits_fused(HALF_TYPES, stride_of_one_column=True):
        return False
    if not float(16 * call.dropout).is_integer() or (call.dropout and call.q.shape[2] == 1):
        return False
    hopper = call.capability == (9, 0) or (call.capability[0] == 10 and call.capability != (10, 7))
    if call.needs_grad and hopper:
        of_keys, of_values = call.widths
        if not (max(call.widths) <= 128 or (of_keys, of_values) in ((192, 128), (256, 256))):
            return False
    fits = all(width <= (256 if hopper else 128) and width % 8 == 0 for width in call.widths)
    return fits and call.k.shape[2] > 1 and max(call.q.shape[:2]) <= 65535


def _flash_takes(call: _Call) -> bool:
    if not (8, 0) <= call.capability <= (12, 1) or not call.fits_fused(HALF_TYPES, stride_of_one_column=True):
        return False
    width = call.q.shape[-1]
    if call.mask or width != call.v.shape[-1] or width > FLASH_WIDTH:
        return False
    # the backward pass of wide heads needs more shared memory than these cards have
    small = (8, 6) <= call.capability <= (8, 9) or call.capability >= (12, 0)
    return not (small and call.needs_grad) or width <= 192 or (width > 224 and not call.dropout)


def _efficient_takes(call: _Call) -> bool:
    ampere = call.capability >= (8, 0)
    dtypes = (torch.float32, torch.float16, torch.bfloat16) if ampere else (torch.float32, torch.float16)
    if not (5, 0) <= call.capability <= (12, 1) or not call.fits_fused(dtypes, stride_of_one_column=False):
        return False
    # tensor cores need rows of whole operands; without them any width works
    if ampere:
        alignment = 8 if call.q.dtype in HALF_TYPES else 4
    else:
        alignment = 8 if call.capability >= (7, 0) and call.q.dtype in HALF_TYPES else 1
    # storage offsets are unknown under a compiler
    offsets = [] if torch.compiler.is_compiling() else [x.storage_offset() for x in (call.q, call.k, call.v)]
    if ampere and any(offset % alignment for offset in offsets):
        return False
    return all(width % alignment == 0 for width in call.widths)


_TAKES: dict[str, Callable[[_Call], bool]] = dict(
    cudnn=_cudnn_takes, flash=_flash_takes, efficient=_efficient_takes, math=lambda call: True
)


def expected_backend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    capability: tuple[int, int] = (8, 0),
    dropout: float = 0.0,
    mask: bool = False,
) -> str:
    """The kernel that PyTorch chooses for these tensors on a GPU; they may be on any device, or fake.

    Respects kernels disabled with ``torch.nn.attention.sdpa_kernel``; ignores an order of preference set there.

    Args:
        q: Queries (B, heads, Nq, d).
        k: Keys (B, heads, Nk, d).
        v: Values (B, heads, Nk, dv).
        capability: Compute capability: (7, 0) V100, (7, 5) T4, (8, 0) A100, (8, 6) A10, (8, 9) L4 and RTX 4090, (9, 0)
            H100.
        dropout: Probability of dropping an attention weight.
        mask: Whether there is a mask, without gradient.

    Returns:
        One of ``BACKENDS``; ``math`` materialises all scores.

    >>> q, k, v = torch.empty(3, 1, 1, 64, 96, dtype=torch.bfloat16)
    >>> expected_backend(q, k, v), expected_backend(q, k, v[..., :64]), expected_backend(q, k, v, capability=(9, 0))
    ('flash', 'efficient', 'cudnn')
    """
    call = _Call(q, k, v, capability, dropout, mask)
    # cuDNN comes first on data centre cards since Hopper; elsewhere it comes last, after the kernel that supports all
    order = BACKENDS if capability[0] in (9, 10) else BACKENDS[1:]
    on = _switched_on()
    return next(name for name in order if name in on and _TAKES[name](call))


# Capabilities of simulated GPUs, the last one counts; see mmav/engine/memory/fused_sdpa.py.
assumed: list[tuple[int, int]] = []


def gpu_capability(device: torch.device) -> tuple[int, int]:
    """Capability of the simulated GPU, if any, else of ``device``, else of an A100."""
    if assumed:
        return assumed[-1]
    return torch.cuda.get_device_capability(device) if torch.cuda.is_initialized() else (8, 0)
