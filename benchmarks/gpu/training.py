"""A few iterations of the flagship's training as a user starts it, on generated clips."""

from __future__ import annotations

import math
import runpy
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mmav.analysis.logs import read_log
from mmav.errors import MmavError
from mmav.outputs import program
from mmav.preparation.annotations import read_labels
from mmav.preparation.avsynth import generate
from mmav.tables import csv_bytes, size

ROOT = Path(__file__).resolve().parents[2]
# the first iterations choose and compile kernels
WARM_UP = 2
_CLIPS = 16
_NUMBERS = 'Numbers: '  # begins the log's line about precision


def make_data(folder: Path, rows: int, **clips: Any) -> Path:
    """Writes a dataset laid out like VGGSound's, with its class names, of clips of AVSynth in H.264 and AAC.

    Args:
        folder: Where it is written.
        rows: Rows of the training list; at most 16 clips are made, which take turns.
        **clips: Size, length and rate, see :class:`~mmav.preparation.avsynth.AVSynthSpec`.

    Returns:
        The folder.
    """
    counts: dict[str, Any] = dict(
        train=min(_CLIPS, 4 * math.ceil(rows / 4)), val=4, test=4
    )  # four pairs of events, equally often
    generate(folder, num_events=2, progress=False, jobs=1, **counts, **clips)
    labels = read_labels('vggsound')
    (folder / 'classes.txt').write_text('\n'.join(labels) + '\n', encoding='utf-8')
    for split, number in dict(train=rows, test=counts['test']).items():
        lines = [(f'clips/{split}/{row % counts[split]:05d}.mp4', labels[row % len(labels)]) for row in range(number)]
        (folder / f'{split}.csv').write_bytes(csv_bytes([('path', 'label'), *lines]))
    return folder


def training_options(options: Sequence[str] = ()) -> list[str]:
    """Values of ``--cfg-options``: one epoch from scratch, each iteration logged, no validation and no checkpoint.

    Args:
        options: Further ones.
    """
    return [
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=2',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.checkpoint.save_last=False',
        'model.pretrained=False',  # the machine may be offline, and no figure depends on the weights
        *options,
    ]


def train(config: str | Path, data: Path, work_dir: Path, options: Sequence[str]) -> None:
    """Runs ``tools/train.py`` in this process, so that the GPU's allocator can be read afterwards.

    Args:
        config: Config file.
        data: Folder of the data.
        work_dir: Folder of the log.
        options: For ``--cfg-options``, see :func:`training_options`.

    Raises:
        MmavError: What the tool would print in one line.
    """
    tool = ROOT / 'tools' / 'train.py'
    arguments = [config, '--data-root', data, '--work-dir', work_dir, '--cfg-options', *options]
    with program(tool.name), _arguments([tool, *arguments]):
        runpy.run_path(str(tool))['main']()


@contextmanager
def _arguments(words: Sequence[object]) -> Iterator[None]:
    before, sys.argv = sys.argv, [str(word) for word in words]
    try:
        yield
    finally:
        sys.argv = before


def read_training(work_dir: Path) -> dict[str, Any]:
    """What a training logged.

    Returns:
        ``iterations``, ``seconds``, ``data_seconds`` and ``losses`` (of each), ``median`` (seconds of an iteration
        after the first two; None if there were no more), ``numbers`` (what was decided about precision), ``peak`` (the
        most bytes that the allocator held, to a MiB), ``steady`` (the same after the first two iterations, in which
        cuDNN tries kernels that need more) and ``reserved`` (bytes that it took from the GPU); the last three are None
        on a CPU.

    Raises:
        MmavError: There is no log, or a loss is not finite.
    """
    rows = read_log(work_dir).train
    losses = [row['loss'] for row in rows]
    seconds = [row['time'] for row in rows]
    memory = [row['memory'] for row in rows if 'memory' in row]
    if not all(math.isfinite(loss) for loss in losses):
        raise MmavError(f'losses are not finite: {losses}')
    return dict(
        iterations=len(rows),
        seconds=seconds,
        data_seconds=[row['data_time'] for row in rows],
        losses=losses,
        median=statistics.median(seconds[WARM_UP:]) if seconds[WARM_UP:] else None,
        numbers=_numbers(work_dir),
        # MMEngine resets the allocator's own peak at each line of the log
        peak=_bytes(memory),
        steady=_bytes(memory[WARM_UP:] or memory),
        reserved=torch.cuda.memory_reserved() if torch.cuda.is_initialized() else None,
    )


def _bytes(logged: Sequence[int]) -> int | None:
    return max(logged) * 2**20 if logged else None


def _numbers(work_dir: Path) -> str | None:
    for log in sorted(work_dir.glob('*/*.log')):
        for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
            if _NUMBERS in line:
                return line.partition(_NUMBERS)[2]
    return None


def training_rows(found: Mapping[str, Any], batch_size: int) -> list[list[str]]:
    """A table of what :func:`read_training` found, with ``planned`` bytes; the first row is the header.

    Args:
        found: The figures.
        batch_size: Clips per iteration.
    """
    seconds, median = found['seconds'], found['median']
    waited = sum(found['data_seconds'][WARM_UP:])
    rows = [
        ('iterations', str(found['iterations'])),
        ('numbers', found['numbers'] or 'not in the log'),
        ('first, second', ', '.join(f'{value:.2f} s' for value in seconds[:WARM_UP])),
        ('one after that, median', f'{median:.3f} s, {batch_size / median:.1f} clips/s' if median else '-'),
        ('of it waiting for data', f'{waited / sum(seconds[WARM_UP:]):.0%}' if median else '-'),
        ('loss', f'{found["losses"][0]:.3f} to {found["losses"][-1]:.3f}'),
        ('memory, planned', size(found.get('planned'), 'GiB', 2)),
        ('memory, peak after the second', size(found['steady'], 'GiB', 2)),
        ('memory, peak of all', size(found['peak'], 'GiB', 2)),
        ('memory, taken by the allocator', size(found['reserved'], 'GiB', 2)),
    ]
    return [['training', 'measured'], *map(list, rows)]
