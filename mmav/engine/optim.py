"""Mixed precision that also works without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmav.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Runs the forward pass under ``torch.autocast`` on the device that the model is on, CPU included.

    MMEngine's ``AmpOptimWrapper`` asserts a GPU. bfloat16 has float32's range, so there is no loss scaling; for
    float16, which needs it, take ``AmpOptimWrapper``.

    Args:
        dtype: ``bfloat16``.
        kwargs: Passed to MMEngine's ``OptimWrapper``.

    Raises:
        ValueError: Another dtype is asked for.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs: Any) -> None:
        if dtype != 'bfloat16':
            raise ValueError(
                f"dtype must be 'bfloat16', got {dtype!r}; for float16 with loss scaling on a GPU take "
                "type='AmpOptimWrapper'"
            )
        super().__init__(**kwargs)
        self.dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of a forward pass: autocast, and no gradient synchronisation while gradients accumulate."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=self.dtype):
            yield
