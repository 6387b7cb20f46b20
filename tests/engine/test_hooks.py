import logging
import random
from types import SimpleNamespace

import numpy as np
import torch

from mmav.engine import BrokenClipHook, SeedHook


def runner(dataset, *, seed=1, epoch=0, iteration=0):
    return SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset),
        seed=seed,
        epoch=epoch,
        iter=iteration,
        logger=logging.getLogger('test_hooks'),
    )


class Clips(list):
    epoch = None

    def set_epoch(self, epoch):
        self.epoch = epoch

    def broken_count(self):
        return 2

    def damaged_count(self):
        return 1


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
    SeedHook().before_train_epoch(runner([1, 2], epoch=7))  # a dataset that does not ask


def test_broken_clips_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        BrokenClipHook().after_train_epoch(runner(Clips([1, 2, 3])))
        BrokenClipHook().after_train_epoch(runner([1, 2, 3]))
    assert [record.getMessage() for record in caplog.records] == [
        '2 of 3 training clips could not be read and were replaced by others',
        '1 of 3 training clips are damaged; what can be decoded of them is used',
    ]
