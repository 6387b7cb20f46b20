"""A shuffled order that is computed, place by place, and never stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Enough that orders of any length, the shortest too, pass the tests of tests/datasets/test_permutation.py.
ROUNDS = 16
# those of splitmix64's last steps (Steele et al. 2014, "Fast splittable pseudorandom number generators")
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Permutation:
    """An order of 0 to N - 1 as a function of a key, of which any part can be computed alone.

    A generalised Feistel cipher: places are pairs (l, r) of a grid of just above N cells, and each round moves one of
    the two by a hash of the other; what leaves the range is moved on until it is back (Black and Rogaway 2002, "Ciphers
    with arbitrary finite domains", sections 3 and 4). The hash is none for secrets.

    Args:
        number: N.
        key: Whole numbers from 0, such as a seed and an epoch.
    """

    def __init__(self, number: int, key: Sequence[int]) -> None:
        self._number = number
        width = math.isqrt(max(0, number - 1)) + 1
        self._sides = np.uint64(width), np.uint64(-(-number // width))
        self._keys = np.random.SeedSequence(list(key)).generate_state(ROUNDS, np.uint64)

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """The numbers at some places of the order.

        Args:
            places: Whole numbers from 0 to N - 1, of any shape.

        Returns:
            int64 of the same shape.
        """
        numbers = self._moved(places.astype(np.uint64))
        while (outside := numbers >= self._number).any():
            numbers[outside] = self._moved(numbers[outside])
        return numbers.astype(np.int64)

    def _moved(self, places: np.ndarray) -> np.ndarray:
        width = self._sides[0]
        pair: list[np.ndarray] = [places % width, places // width]
        for turn, key in enumerate(self._keys):
            one, side = turn % 2, self._sides[turn % 2]
            pair[one] = (pair[one] + _hash(pair[1 - one] + key) % side) % side
        moved: np.ndarray = pair[0] + pair[1] * width
        return moved


def _hash(values: np.ndarray) -> np.ndarray:
    for shift, factor in _MIX:
        values = np.multiply(values ^ (values >> np.uint64(shift)), np.uint64(factor))
    return np.bitwise_xor(values, values >> np.uint64(31))
