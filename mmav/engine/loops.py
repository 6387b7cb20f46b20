"""MMEngine's loops of validation and testing, in inference mode; those of training are in train_loops.py."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.runner import TestLoop, ValLoop
from torch import nn

from mmav.engine.distributed.fsdp import is_spread
from mmav.registry import LOOPS


@LOOPS.register_module()
class AVValLoop(ValLoop):
    """Validates with the model in inference mode, see :func:`evaluating`; its arguments are those of MMEngine's."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Validates a batch."""
        with evaluating(self.runner.model), _in_numbers(self):
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class AVTestLoop(TestLoop):
    """Tests with the model in inference mode, see :func:`evaluating`; its arguments are those of MMEngine's."""

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Tests a batch."""
        with evaluating(self.runner.model), _in_numbers(self):
            super().run_iter(idx, data_batch)


def evaluating(model: nn.Module) -> AbstractContextManager[Any]:
    """The mode in which a model computes what needs no gradients.

    It is torch's inference mode, of which two things follow. A module that keeps a tensor from one call to the next
    has to make it under ``torch.inference_mode(False)``, as training cannot use one of inference mode. A metric that
    changes a prediction in place after its batch has to clone it first.

    A model that is spread over processes keeps the tensors into which it gathers parameters: for that one it is
    ``torch.no_grad``, so that training can use them after validation.
    """
    return torch.no_grad() if is_spread(model) else torch.inference_mode()


def _in_numbers(loop: ValLoop | TestLoop) -> AbstractContextManager[Any]:
    """The context of a forward pass in the numbers that the runner decided on for evaluation."""
    numbers = getattr(loop.runner, 'evaluation_numbers', None)  # MMEngine's own runner has none
    if numbers is None or numbers.amp is None:
        return nullcontext()
    loop.fp16 = True  # else MMEngine would turn autocast off again; the type is that of the context around its own
    return numbers.autocast(get_device())
