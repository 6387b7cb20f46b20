"""MMEngine's optimizer wrappers with the norm of the gradients deferred, and mixed precision.

bfloat16 works with or without a GPU, float16 with loss scaling on one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper as MMEngineAmpOptimWrapper
from mmengine.optim import OptimWrapper as MMEngineOptimWrapper
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mmav.engine.distributed.group import without_gpu
from mmav.errors import ConfigError
from mmav.registry import OPTIM_WRAPPERS


class _DeferredNorm(MMEngineOptimWrapper):
    """An optimizer wrapper that defers the norm of the gradients.

    MMEngine reads the norm after each clipping, for the log: the CPU waits until the GPU has computed the backward
    pass, and only then queues the optimizer's step. Here the norm stays on the device, for
    :class:`~mmav.engine.hooks.runtime_info.RuntimeInfoHook` to read later.
    """

    grad_norm: Tensor | None = None

    def _clip_grad(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)  # None where values are clipped, not their norm
        # of sharded gradients each process knows its part of the norm
        self.grad_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm

    def take_grad_norm(self) -> dict[str, Tensor]:
        """The norm of the last step's gradients by its name in the log, once; empty where nothing was clipped."""
        norm, self.grad_norm = self.grad_norm, None
        return {} if norm is None else {self.grad_name: norm}

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads the state of a wrapper; implementation options such as ``fused`` stay as the config says."""
        own = self.optimizer.param_groups
        saved = state_dict['param_groups']
        if len(own) == len(saved):  # else torch raises
            how = [{k: group[k] for k in ('fused', 'foreach') if k in group} for group in own]
            saved = [{**group, **options} for group, options in zip(saved, how, strict=True)]
        super().load_state_dict({**state_dict, 'param_groups': saved})


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_DeferredNorm):
    """MMEngine's wrapper of this name, with the norm of the gradients deferred.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations of a step.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_``, or of ``clip_grad_value_`` with ``type='value'``.
    """


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(_DeferredNorm):
    """Runs the forward pass under ``torch.autocast`` on the device that the model is on, CPU included.

    MMEngine's ``AmpOptimWrapper`` asserts a GPU. bfloat16 has float32's range, so there is no loss scaling; for
    float16, which needs it, take ``AmpOptimWrapper``.

    Args:
        dtype: ``bfloat16``.
        kwargs: Passed to :class:`OptimWrapper`.

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
class AmpOptimWrapper(_DeferredNorm, MMEngineAmpOptimWrapper):
    """MMEngine's wrapper of this name: float16 with loss scaling, on a GPU.

    The loss is multiplied by a scale, so that small gradients do not vanish; where a gradient overflows, the step is
    skipped and the scale halved. The scale is saved in checkpoints with the optimizer's state, and restored.

    Args:
        loss_scale: ``dynamic``, a fixed number, or a dict of the arguments of ``torch.amp.GradScaler``.
        dtype: ``float16``; for bfloat16, which needs no scale, take ``AutocastOptimWrapper``.
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
            # MMEngine creates the scaler by a name that newer versions of torch have deprecated
            warnings.filterwarnings('ignore', message='.torch.cuda.amp.GradScaler', category=FutureWarning)
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
