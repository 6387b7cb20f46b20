"""Weights of classes in a loss: numbers, or what balances the training clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmav.errors import ConfigError, did_you_mean

BALANCED = 'balanced'
# name of a weight -> what 'balanced' makes of N clips, C classes and the clips n_c of each
_RULES: dict[str, Any] = dict(
    class_weight=lambda counts, clips: clips / (len(counts) * counts),
    # a class of every clip counts as if one lacked it
    pos_weight=lambda counts, clips: (clips - counts).clamp(min=1) / counts,
)


class ClassWeights(nn.Module):
    """The weights of a loss, by name; they are no part of a checkpoint.

    The head checks their number, and the runner counts the training clips for those that are to balance them.

    Args:
        given: Name of the argument, ``class_weight`` or ``pos_weight`` -> one number a class; one for all, of
            ``pos_weight``; 'balanced' for N / (C n_c), or (N - n_c) / n_c as ``pos_weight``, of N training clips of C
            classes, n_c of which have class c; or None.

    Raises:
        ValueError: A number is negative or not finite, all are 0, or a text is not 'balanced'.

    Attributes:
        waiting: Names of the weights that wait for the training clips.
    """

    def __init__(self, **given: str | float | Sequence[float] | None) -> None:
        super().__init__()
        self.waiting = [name for name, value in given.items() if isinstance(value, str)]
        for name, value in given.items():
            if isinstance(value, str) and value != BALANCED:
                raise ValueError(
                    f"{name}={value!r}: give one number a class, or 'balanced'{did_you_mean(value, [BALANCED])}"
                )
            numbers = None if value is None or isinstance(value, str) else _checked(name, value)
            self.register_buffer(name, numbers, persistent=False)

    def fit(self, num_classes: int) -> None:
        """Prepares for a head.

        Args:
            num_classes: C.

        Raises:
            ConfigError: There are not as many numbers as classes.
        """
        for name, numbers in self.named_buffers():
            if len(numbers) not in (num_classes, *([1] if name == 'pos_weight' else [])):
                raise ConfigError(
                    f'head.loss.{name} has {len(numbers)} numbers, but the head has {num_classes} classes: give one a '
                    'class, in the order of the class list'
                )
        for name in self.waiting:
            setattr(self, name, torch.ones(num_classes))

    def balance(self, counts: Sequence[int] | None, clips: int = 0) -> dict[str, Tensor]:
        """Sets the weights that wait for the training clips.

        Args:
            counts: How many clips have each class (C,); a class without one counts as if it had one. None sets ones,
                to try a step without data.
            clips: N.

        Returns:
            Name -> weights (C,) of those that were set.
        """
        found = {}
        for name in self.waiting:
            weights = getattr(self, name)
            if counts is not None:
                weights.copy_(torch.as_tensor(_RULES[name](torch.tensor(counts).double().clamp(min=1), clips)))
            found[name] = weights
        self.waiting = []
        return found

    def of(self, name: str) -> Tensor | None:
        """The weights (C,) of that name, or None.

        Raises:
            ConfigError: The training clips have not been counted.
        """
        if name in self.waiting:
            raise ConfigError(
                f"{name}='balanced' is counted from the training clips when a Runner of mmav builds its training loop: "
                'train with it, or give numbers'
            )
        return getattr(self, name)


def _checked(name: str, value: float | Sequence[float]) -> Tensor:
    numbers = torch.as_tensor(value, dtype=torch.float32)
    if name != 'pos_weight' and numbers.dim() == 0:
        raise ValueError(f'{name}={value!r} is the same for every class: give one number a class, or use loss_weight')
    numbers = numbers.reshape(-1)
    if not len(numbers) or not bool((numbers.isfinite() & (numbers >= 0)).all()) or not bool(numbers.any()):
        raise ValueError(f'{name}={value!r}: the numbers must not be negative or infinite, nor all 0')
    return numbers


def forget_balance(model: nn.Module) -> None:
    """Sets weights that wait for the training clips to 1, to try a training step without data."""
    for module in model.modules():
        if isinstance(module, ClassWeights):
            module.balance(None)
