"""Against what a uniform draw of all orders gives; keys are fixed, so that a test gives the same each time."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import chisquare, poisson

from mmav.datasets.permutation import Permutation

# below it a fair order fails one time in a thousand
LEVEL = 1e-3


def orders(number, times, seed=0):
    places = np.arange(number)
    return np.stack([Permutation(number, (seed, epoch))(places) for epoch in range(times)])


@pytest.mark.parametrize('number', [*range(1, 9), 97, 256, 1000, 65_537, 100_003])
def test_each_number_comes_once_and_any_part_alone(number):
    order = Permutation(number, (3, 1))
    whole = order(np.arange(number))
    assert np.array_equal(np.sort(whole), np.arange(number))
    assert np.array_equal(order(np.arange(number)[number // 3 :: 2]), whole[number // 3 :: 2])


def test_keys_tell_orders_apart():
    keys = [(0, 0), (0, 1), (1, 0), (1, 1)]
    wholes = [Permutation(1000, key)(np.arange(1000)) for key in keys]
    assert len({whole.tobytes() for whole in wholes}) == 4
    assert np.array_equal(wholes[1], Permutation(1000, (0, 1))(np.arange(1000)))


@pytest.mark.parametrize('number', [3, 5])
def test_all_orders_are_as_frequent(number):
    known = {order: k for k, order in enumerate(permutations(range(number)))}
    counts = np.bincount([known[tuple(order)] for order in orders(number, 4000).tolist()], minlength=len(known))
    assert chisquare(counts).pvalue > LEVEL


@pytest.mark.parametrize('number', [20, 100])
def test_places_neighbours_and_epochs(number):
    times = 2000
    drawn = orders(number, times, seed=1)
    at = np.bincount((np.arange(number) * number + drawn).ravel(), minlength=number**2)
    assert chisquare(at).pvalue > LEVEL
    # what comes next, seen from what came before
    steps = np.bincount(((drawn[:, 1:] - drawn[:, :-1]) % number).ravel(), minlength=number)[1:]
    assert chisquare(steps).pvalue > LEVEL
    pairs = np.bincount(drawn[:, 0] * number + drawn[:, 1], minlength=number**2).reshape(number, number)
    assert chisquare(pairs[~np.eye(number, dtype=bool)]).pvalue > LEVEL
    # places that two epochs have in common: 1 on average
    common = np.bincount(np.minimum((drawn[1:] == drawn[:-1]).sum(1), 4), minlength=5)
    expected = np.append(poisson.pmf(range(4), 1), poisson.sf(3, 1)) * (times - 1)
    assert chisquare(common, expected).pvalue > LEVEL


def test_a_list_of_millions():
    number, places = 2_100_000, np.arange(200_000)
    counts, steps = np.zeros((50, 50)), np.zeros(50)
    for epoch in range(3):
        drawn = Permutation(number, (7, epoch))(places * 10)
        np.add.at(counts, (places * 50 // len(places), drawn * 50 // number), 1)
        steps += np.bincount((np.diff(drawn) % number) * 50 // number, minlength=50)
    assert chisquare(counts.ravel()).pvalue > LEVEL and chisquare(steps).pvalue > LEVEL
