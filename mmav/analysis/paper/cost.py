"""What the rows of the paper take: memory of a step on a GPU, and operations of training and testing, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from tqdm import tqdm

from mmav import tables
from mmav.analysis.complexity import count_model
from mmav.config.reading import load_checked_config
from mmav.engine.memory.plan import GIB, plan_step
from mmav.errors import ConfigError

# of the paper: 8 clips on each of 8 GPUs
GLOBAL_BATCH = 64


@dataclass(frozen=True)
class RowCost:
    """What one run of a row takes.

    Attributes:
        title: The row.
        needed: Bytes that a step needs on each GPU; None on a CPU, where no plan is made.
        fits: Whether a GPU has them, where blocks may be computed again.
        again: Share of a step's operations that is computed again for that.
        training: Multiply-accumulates of training, all epochs.
        testing: Multiply-accumulates of the test with all its views, and of the validations.
        epochs: Of the training.
    """

    title: str
    needed: int | None
    fits: bool
    again: float
    training: float
    testing: float
    epochs: int

    @property
    def macs(self) -> float:
        """All multiply-accumulates of a run."""
        return self.training * (1 + self.again) + self.testing


def batch_of(gpus: int) -> int:
    """Clips on each GPU, so that all have the paper's 64 together.

    Raises:
        ConfigError: 64 cannot be shared evenly.

    >>> batch_of(8)
    8
    """
    if gpus < 1 or GLOBAL_BATCH % gpus:
        raise ConfigError(f"--gpus {gpus}: the paper's batch of {GLOBAL_BATCH} clips needs 1, 2, 4, 8, 16, 32 or 64")
    return GLOBAL_BATCH // gpus


def cost_of(
    title: str, cfg: Config, clips: Mapping[str, int], *, gpus: int | None = None, gpu_memory: float = 0.0
) -> RowCost:
    """Counts what a run takes, without running it.

    Args:
        title: The row.
        cfg: Its config, with all options.
        clips: Manifest, ``train.csv`` and ``test.csv`` -> clips.
        gpus: How many GPUs train; None for a CPU.
        gpu_memory: Of each, in GiB.
    """
    forward = count_model(cfg.model)[-1].explicit
    views = next(step for step in cfg.test_dataloader.dataset.pipeline if step['type'] == 'LoadClip').get(
        'num_views', 1
    )
    epochs, interval = cfg.train_cfg.max_epochs, cfg.train_cfg.get('val_interval', 1)
    testing = forward * clips['test.csv'] * (views + epochs // interval)
    needed, fits, again = None, True, 0.0
    # a backward pass takes twice what a forward pass does; the plan counts a step by its operations, with all views
    a_clip = 3.0 * forward
    if gpus:
        plan = plan_step(cfg, batch_size=batch_of(gpus), gpu_memory=round(gpu_memory * GIB), gpus=gpus)
        needed, fits, again, a_clip = plan.needed, plan.fits, plan.extra, plan.macs / plan.batch_size
    return RowCost(title, needed, fits, again, a_clip * clips['train.csv'] * epochs, testing, epochs)


def costs_of(
    rows: Sequence[tuple[str, Path]],
    clips: Mapping[str, int],
    options: Mapping[str, Any],
    *,
    gpus: int | None = None,
    gpu_memory: float = 0.0,
    progress: bool = True,
) -> list[RowCost]:
    """:func:`cost_of` each row that is trained, title and config; with the options of the command line."""
    bar = tqdm(rows, 'counting the rows', unit='row', disable=not progress)
    return [
        cost_of(title, load_checked_config(str(config), dict(options)), clips, gpus=gpus, gpu_memory=gpu_memory)
        for title, config in bar
    ]


def report(costs: Sequence[RowCost], *, seeds: int, gpus: int | None, gpu_memory: float, tflops: float) -> str:
    """The table of what all rows take, for a terminal.

    Args:
        costs: Of each row.
        seeds: Runs of each.
        gpus: How many GPUs train; None for a CPU.
        gpu_memory: Of each, in GiB.
        tflops: 10^12 operations a second that a GPU is assumed to sustain; a multiply-accumulate is two.
    """
    rows = [['row', 'epochs', 'memory a GPU', 'PMACs, train', 'PMACs, test', 'GPU hours']]
    for cost in costs:
        memory = '-' if cost.needed is None else tables.size(cost.needed, 'GiB', 1)
        memory += '' if cost.fits else ', does not fit'
        taken = f'{_gpu_hours(cost.macs, tflops):,.1f}' if gpus else '-'
        rows.append([cost.title, str(cost.epochs), memory, *map(_peta, (cost.training, cost.testing)), taken])
    total = sum(cost.macs for cost in costs) * seeds
    lines = [tables.text_table(rows), '', f'all rows, {seeds} seed{"s" * (seeds > 1)}: {_peta(total)} PMACs']
    if gpus:
        hours = _gpu_hours(total, tflops)
        lines.append(
            f'{hours:,.0f} GPU hours, {hours / gpus:,.1f} hours on {gpus} GPUs of {gpu_memory:g} GiB: counted, not '
            f'measured, at {tflops:g} TFLOP/s a GPU (--tflops)'
        )
    return '\n'.join(lines)


def _gpu_hours(macs: float, tflops: float) -> float:
    return 2 * macs / (tflops * 1e12) / 3600


def _peta(macs: float) -> str:
    """Multiply-accumulates in units of 10^15, three figures at least."""
    value = macs / 1e15
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'
