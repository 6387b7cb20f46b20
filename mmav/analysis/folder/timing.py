"""How long an epoch will take: a few batches are read and trained on before the length of training is chosen."""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper

from mmav.datasets import av_collate
from mmav.errors import MediaError, MmavError
from mmav.registry import MODELS
from mmav.threads import cpu_count, sharing_cores

# batches that are read, and steps, the first of which warms up
BATCHES, STEPS = 2, 4
# validation computes no gradients
_FORWARD_SHARE = 1 / 3
# what an estimate from so few batches leaves out: logging, saving, starting workers
_MARGIN = 1.2


class EpochTime(NamedTuple):
    """Seconds of an epoch of training and the validation after it.

    Attributes:
        first: Of the first one, which also fills the cache.
        later: Of each one after it.
    """

    first: float
    later: float

    def of(self, epochs: int) -> float:
        """Seconds of so many epochs, from the first one.

        >>> EpochTime(5.0, 2.0).of(3), EpochTime(5.0, 2.0).of(0)
        (9.0, 0.0)
        """
        return self.first + (epochs - 1) * self.later if epochs else 0.0

    def fitting(self, seconds: float) -> int:
        """How many epochs fit.

        >>> EpochTime(5.0, 2.0).fitting(9.0), EpochTime(5.0, 2.0).fitting(4.0)
        (3, 0)
        """
        return 1 + int((seconds - self.first) / self.later) if seconds >= self.first else 0


def seconds_of_epoch(cfg: Config, train: Any, val: Any) -> EpochTime:
    """Estimates the seconds of an epoch.

    Args:
        cfg: A checked config whose number of classes is known.
        train: Its dataset for training, with the cache that training will have.
        val: That for validation.

    Raises:
        MmavError: No training clip can be read.
    """
    batch, workers = cfg.train_dataloader.batch_size, cfg.train_dataloader.get('num_workers') or 0
    items, first = _read(train, BATCHES * batch)
    # the same ones again come from the cache
    later = _read(train, BATCHES * batch)[1] if train.decoded is not None else first
    with sharing_cores(workers):
        step = _step_seconds(cfg, [items[k % len(items)] for k in range(batch)])
    first, later = (
        _epoch(step, read * batch, workers, -(-len(train) // batch), len(val) / batch) for read in (first, later)
    )
    return EpochTime(first, later)


def _epoch(step: float, reading: float, workers: int, steps: int, val_steps: float) -> float:
    """Seconds of an epoch whose batches take so long to compute and, in one process, to read."""
    if workers:
        # reading and computing run beside each other, on no more cores than there are
        whole = max(step, reading / workers, (step + reading) / cpu_count())
    else:
        whole = step + reading
    checks = val_steps * max(whole - step * (1 - _FORWARD_SHARE), reading / max(workers, 1))
    return _MARGIN * (steps * whole + checks)


def _read(dataset: Any, number: int) -> tuple[list[Any], float]:
    """Some clips, spread over the set, and the seconds that one takes."""
    places = torch.linspace(0, len(dataset) - 1, min(number, len(dataset))).long().tolist()
    items, seconds = [], []
    for place in places:
        start = time.perf_counter()
        try:
            items.append(dataset[place])
        except MediaError:
            continue
        seconds.append(time.perf_counter() - start)
    if not items:
        raise MmavError(f'none of {len(places)} training clips can be read')
    return items, statistics.median(seconds)


def _step_seconds(cfg: Config, items: list[Any]) -> float:
    device = get_device()
    model: Any = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    seconds = []
    for _ in range(STEPS):
        data = av_collate(items)
        start = time.perf_counter()
        model.train_step(data, wrapper)
        if device == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
