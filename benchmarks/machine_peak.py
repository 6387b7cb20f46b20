"""How many operations a second a machine can do at most: what a large product of two matrices reaches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.rounds import time_in_turn

SIZES = (512, 1024, 2048, 4096, 8192)


def matmul_peak(
    device: str | torch.device = 'cpu',
    dtype: torch.dtype = torch.float32,
    *,
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    limit: float = 3.0,
) -> float:
    """Operations a second of the fastest product of two square matrices, a multiplication and an addition being two.

    On the CPU with as many threads as torch has now. Of float32 on a GPU with the precision that
    ``torch.backends.cuda.matmul`` allows, full by default.

    Args:
        device: 'cpu' or 'cuda'.
        dtype: Of the matrices.
        sizes: Rows and columns, rising.
        rounds: Products of each size, of which the fastest counts.
        limit: Seconds that a size may take as the one before it says; larger ones are left out.
    """
    best = 0.0
    previous: tuple[int, float] | None = None
    for size in sizes:
        if previous is not None and previous[1] * (size / previous[0]) ** 3 * (rounds + 1) > limit:
            break
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        seconds = min(time_in_turn({size: lambda a=a, b=b: a @ b}, rounds)[size])  # type: ignore[misc]
        best = max(best, 2 * size**3 / seconds)
        previous = (size, seconds)
    return best
