"""MMEngine's optimizer wrappers with the gradient norm deferred, and mixed precision.

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
    """An optimizer wrapper that defers the gradient norm.

    MMEngine reads the norm for the log after each clipping: the CPU waits until the GPU has finished the backward pass,
    and only then queues the optimizer's step. Here the norm stays on the device, and
    :class:`~mmav.engine.hooks.runtime_info.RuntimeInfoHook` reads it later.
    """

    grad_norm: Tensor | None = None

    def _clip_grad(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)  # None if values are clipped instead of the norm
        # with sharded gradients each process only has its part of the norm
        self.grad_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm

    def take_grad_norm(self) -> dict[str, Tensor]:
        """The gradient norm of the last step under its name in the log, once; empty if nothing was clipped."""
        norm, self.grad_norm = self.grad_norm, None
        return {} if norm is None else {self.grad_name: norm}

    def load_state_dict(self, state_dict: dict) -> None:
        """Loads the state of a wrapper; implementation options such as ``fused`` stay as configured."""
        own = self.optimizer.param_groups
        saved = state_dict['param_groups']
        if len(own) == len(saved):  # otherwise torch raises
            how = [{k: group[k] for k in ('fused', 'foreach') if k in group} for group in own]
            saved = [{**group, **options} for group, options in zip(saved, how, strict=True)]
        super().load_state_dict({**state_dict, 'param_groups': saved})


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(_DeferredNorm):
    """MMEngine's wrapper of this name, with the gradient norm deferred.

    Args:
        optimizer: The optimizer.
        accumulative_counts: Iterations per step.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_``, or of ``clip_grad_value_`` with ``type='value'``.
    """


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(_DeferredNorm):
    """Runs the forward pass under ``torch.autocast`` on the model's device, including CPUs.

    MMEngine's ``AmpOptimWrapper`` requires a GPU. bfloat16 has float32's range, so there is no loss scaling; for
    float16, which needs it, use ``AmpOptimWrapper``.

    Args:
        dtype: ``bfloat16``.
        kwargs: Passed to :class:`OptimWrapper`.

    Raises:
        ValueError: The dtype is not supported.
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

    The loss is multiplied by a scale, so that small gradients do not vanish; if a gradient overflows, the step is
    skipped and the scale halved. Checkpoints store the scale with the optimizer's state.

    Args:
        loss_scale: ``dynamic``, a fixed number, or a dict of the arguments of ``torch.amp.GradScaler``.
        dtype: ``float16``; for bfloat16, which needs no scale, use ``AutocastOptimWrapper``.
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
            # MMEngine creates the scaler by a name that newer versions of torch deprecate
            warnings.filterwarnings('ignore', message='.torch.cuda.amp.GradScaler', category=FutureWarning)
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
