"""How long an epoch will take: a few batches are read and trained on before the length of training is chosen."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmav.datasets import av_collate
from mmav.errors import MediaError, MmavError
from mmav.registry import DATASETS, MODELS
from mmav.threads import cpu_count, sharing_cores

# batches that are read, and steps, the first of which warms up
BATCHES, STEPS = 2, 4
# validation computes no gradients
_FORWARD_SHARE = 1 / 3
# what an estimate from so few batches leaves out: logging, saving, starting workers
_MARGIN = 1.2


def seconds_of_epoch(cfg: Config) -> float:
    """Estimates the seconds of an epoch of training and the validation after it.

    Args:
        cfg: A checked config whose number of classes is known.

    Raises:
        MmavError: No training clip can be read.
    """
    init_default_scope('mmav')
    train, val = (DATASETS.build(cfg[f'{part}_dataloader']['dataset']) for part in ('train', 'val'))
    batch, workers = cfg.train_dataloader.batch_size, cfg.train_dataloader.get('num_workers') or 0
    items, read = _read(train, BATCHES * batch)
    with sharing_cores(workers):
        step = _step_seconds(cfg, [items[k % len(items)] for k in range(batch)])
    reading = read * batch
    if workers:
        # reading and computing run beside each other, on no more cores than there are
        whole = max(step, reading / workers, (step + reading) / cpu_count())
    else:
        whole = step + reading
    clips = len(val) / batch * max(whole - step * (1 - _FORWARD_SHARE), reading / max(workers, 1))
    return _MARGIN * (-(-len(train) // batch) * whole + clips)


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
