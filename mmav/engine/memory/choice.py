"""Chooses which blocks keep less, so that a step fits and as few operations as possible are recomputed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Option:
    """One level of one block.

    Attributes:
        kept: Bytes kept from the forward to the backward pass.
        cached: Further bytes kept until the end of the model's forward pass.
        forward: Peak bytes of its own forward pass.
        backward: Peak bytes of its own backward pass.
        again: Operations that are recomputed.
    """

    kept: int
    cached: int
    forward: int
    backward: int
    again: int


class Choice:
    """A time line of a step, and the options of each block.

    Args:
        shared: (M,): bytes at each moment outside the blocks.
        alive: (M, N): whether block n keeps its data at moment m.
        forward: (M,): whether a moment is in the model's forward pass.
        turn: (M,): the block that runs; -1 for none.
        options: The options of each block, from the most kept to the least.
    """

    def __init__(
        self,
        shared: np.ndarray,
        alive: np.ndarray,
        forward: np.ndarray,
        *,
        turn: np.ndarray,
        options: Sequence[Sequence[Option]],
    ) -> None:
        self.shared, self.alive, self.is_forward, self.turn, self.options = shared, alive, forward, turn, options

    def taken(self, chosen: Sequence[int]) -> np.ndarray:
        """Bytes at each moment (M,) if block n takes its option ``chosen[n]``."""
        picked = [options[number] for options, number in zip(self.options, chosen, strict=True)]
        kept, cached = (np.array([getattr(p, key) for p in picked], dtype=np.int64) for key in ('kept', 'cached'))
        taken = self.shared + self.alive @ kept + np.where(self.is_forward, self.alive @ cached, 0)
        for moment in np.flatnonzero(self.turn >= 0):
            own = picked[self.turn[moment]]
            taken[moment] += own.forward if self.is_forward[moment] else own.backward
        return taken

    def peak(self, chosen: Sequence[int]) -> int:
        """Peak bytes over all moments."""
        return int(self.taken(chosen).max())

    def extra(self, chosen: Sequence[int]) -> int:
        """Operations that are recomputed."""
        return sum(options[number].again for options, number in zip(self.options, chosen, strict=True))

    def least(self) -> list[int]:
        """The options with the lowest peak found by this search."""
        return self._descend([0] * len(self.options), budget=-1)

    def choose(self, budget: int) -> list[int] | None:
        """The options with a peak of at most ``budget`` that recompute the fewest operations; None if none fits.

        Greedy: takes the option that frees the most bytes at the peak per operation until the step fits, then reverts
        options that are not needed, the most expensive first. tests/engine/memory/test_choice.py measures how far
        that is from the optimum.
        """
        chosen = self._descend([0] * len(self.options), budget)
        if self.peak(chosen) > budget:
            return None
        while True:
            better = self._taken_back(chosen, budget)
            if better is None:
                return chosen
            chosen = better

    def _descend(self, chosen: list[int], budget: int) -> list[int]:
        while True:
            taken = self.taken(chosen)
            moment = int(taken.argmax())
            if taken[moment] <= budget:
                return chosen
            best: tuple[float, int, int] | None = None
            for block, options in enumerate(self.options):
                now = options[chosen[block]]
                for number in range(chosen[block] + 1, len(options)):
                    freed = self._share(block, moment, now) - self._share(block, moment, options[number])
                    if freed > 0:
                        rate = freed / max(options[number].again - now.again, 1)
                        best = max(best or (0.0, 0, 0), (rate, block, number))
            if best is None:
                return chosen
            chosen = [best[2] if block == best[1] else number for block, number in enumerate(chosen)]

    def _share(self, block: int, moment: int, option: Option) -> int:
        """Bytes of a block at a moment."""
        forward = bool(self.is_forward[moment])
        if self.turn[moment] == block:
            return option.forward if forward else option.backward
        return (option.kept + (option.cached if forward else 0)) if self.alive[moment, block] else 0

    def _taken_back(self, chosen: list[int], budget: int) -> list[int] | None:
        """The options with a cheaper one for a single block, saving the most operations; None if none fits."""
        candidates = [
            (options[chosen[block]].again - options[number].again, block, number)
            for block, options in enumerate(self.options)
            for number in range(chosen[block])
        ]
        for spared, block, number in sorted(candidates, reverse=True):
            trial = [number if at == block else old for at, old in enumerate(chosen)]
            if spared > 0 and self.peak(trial) <= budget:
                return trial
        return None
