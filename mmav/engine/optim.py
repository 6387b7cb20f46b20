"""Mixed precision: bfloat16 with or without a GPU, float16 with loss scaling on one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper
from torch import nn

from mmav.engine.dist import without_gpu
from mmav.errors import ConfigError
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


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(MMEngineAmpOptimWrapper):
    """MMEngine's wrapper of this name: float16 with loss scaling, on a GPU.

    The loss is multiplied by a scale, so that small gradients do not vanish; where a gradient overflows, the step is
    left out and the scale halved. The scale is saved in checkpoints with the optimizer's state, and restored.

    Args:
        loss_scale: ``dynamic``, a fixed number, or a dict of the arguments of ``torch.amp.GradScaler``.
        dtype: ``float16``; for bfloat16, which needs no scale, ``AutocastOptimWrapper`` is made.
        kwargs: Passed to MMEngine's ``AmpOptimWrapper``.

    Raises:
        ConfigError: There is no GPU.
    """

    def __init__(self, loss_scale: str | float | dict = 'dynamic', dtype: str = 'float16', **kwargs: Any) -> None:
        if without_gpu():
            raise ConfigError(
                'AmpOptimWrapper (float16) needs a GPU and there is none; take --amp bfloat16, or '
                "type='AutocastOptimWrapper'"
            )
        with warnings.catch_warnings():
            # MMEngine makes the scaler under a name that newer versions of torch have moved
            warnings.filterwarnings('ignore', message='.torch.cuda.amp.GradScaler', category=FutureWarning)
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
