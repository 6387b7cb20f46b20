import random
from types import SimpleNamespace

import numpy as np
import torch

from mmav.engine import SeedHook


def runner(dataset, *, seed=1, epoch=0, iteration=0):
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(train_dataloader=loader, seed=seed, epoch=epoch, iter=iteration)


class Clips(list):
    epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch


def draws(**state):
    SeedHook().before_train_iter(runner([], **state), 0)
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_seed_depends_on_seed_and_iteration_only():
    first = draws(iteration=5)
    draws(iteration=6)
    assert draws(iteration=5) == first
    for other in (draws(iteration=6), draws(iteration=5, seed=2)):
        assert all(a != b for a, b in zip(first, other, strict=True))


def test_dataset_learns_the_epoch_also_when_wrapped():
    clips = Clips()
    SeedHook().before_train_epoch(runner(SimpleNamespace(dataset=clips), epoch=7))
    assert clips.epoch == 7
    one, two = Clips(), Clips()
    joined = SimpleNamespace(datasets=[SimpleNamespace(dataset=one), two])
    SeedHook().before_train_epoch(runner(joined, epoch=8))
    assert (one.epoch, two.epoch) == (8, 8)
    SeedHook().before_train_epoch(runner([1, 2], epoch=7))  # a dataset that does not ask
    parts = [Clips(), Clips()]
    joined = SimpleNamespace(datasets=[parts[0], SimpleNamespace(dataset=parts[1])])
    SeedHook().before_train_epoch(runner(joined, epoch=8))
    assert [part.epoch for part in parts] == [8, 8]
