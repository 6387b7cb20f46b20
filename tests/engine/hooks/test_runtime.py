import logging
import random
from types import SimpleNamespace

import numpy as np
import torch

from mmav.engine import BrokenClipHook, SeedHook
from mmav.engine.hooks import deferred as late
from mmav.engine.hooks.deferred import LateValues
from tests import toys


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
    one, two = Clips(), Clips()
    joined = SimpleNamespace(datasets=[SimpleNamespace(dataset=one), two])
    SeedHook().before_train_epoch(runner(joined, epoch=8))
    assert (one.epoch, two.epoch) == (8, 8)
    SeedHook().before_train_epoch(runner([1, 2], epoch=7))  # a dataset that does not ask
    parts = [Clips(), Clips()]
    joined = SimpleNamespace(datasets=[parts[0], SimpleNamespace(dataset=parts[1])])
    SeedHook().before_train_epoch(runner(joined, epoch=8))
    assert [part.epoch for part in parts] == [8, 8]


def test_broken_clips_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        BrokenClipHook().after_train_epoch(runner(Clips([1, 2, 3])))
        BrokenClipHook().after_train_epoch(runner([1, 2, 3]))
    assert [record.getMessage() for record in caplog.records] == [
        '2 of 3 training clips could not be read and were replaced by others',
        '1 of 3 training clips are damaged; what can be decoded of them is used',
    ]


def test_losses_on_a_gpu_are_read_when_they_are_logged(tmp_path, monkeypatch):
    """The log and the checkpoints are the same as where each is read at once."""
    reads = []
    take = LateValues.take
    monkeypatch.setattr(LateValues, 'take', lambda late: reads.append(1) or take(late))
    logger = 'default_hooks.logger.interval=2'
    options = ['--cfg-options', 'train_cfg.max_epochs=2', logger, 'optim_wrapper.clip_grad.max_norm=1.0']
    for name in 'ab':
        assert toys.run_tool('train.py', toys.write_config(tmp_path), '--work-dir', tmp_path / name, *options) == 0
        if name == 'a':
            at_once = len(reads)
            monkeypatch.setattr(late, 'is_cpu', lambda value: False)
    # in every second of 6 iterations and at the end of an epoch, by two hooks; and before a checkpoint
    assert len(reads) - at_once < at_once
    one, two = (torch.load(tmp_path / name / 'epoch_2.pth', weights_only=True) for name in 'ab')
    for scalar in ('train/loss', 'train/grad_norm', 'train/lr'):
        values = [run['message_hub']['log_scalars'][scalar]['values'] for run in (one, two)]
        assert len(values[0]) == 6 and torch.equal(*values), scalar
