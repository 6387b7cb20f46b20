"""A few iterations of the flagship's training as a user starts it, on clips that are made for it."""

from __future__ import annotations

import csv
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

ROOT = Path(__file__).resolve().parents[1]
# in the first iterations kernels are chosen and compiled
WARM_UP = 2
_CLIPS = 16
_NUMBERS = 'Numbers: '  # how the line of the log begins that says what was decided about precision


def make_data(folder: Path, rows: int, **clips: Any) -> Path:
    """Writes a data set laid out as VGGSound's, with its class names, from clips of AVSynth in H.264 and AAC.

    Args:
        folder: Where to.
        rows: Rows of the list for training; at most 16 clips are made, which take turns.
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
        with open(folder / f'{split}.csv', 'w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(('path', 'label'))
            for row in range(number):
                writer.writerow((f'clips/{split}/{row % counts[split]:05d}.mp4', labels[row % len(labels)]))
    return folder


def training_options(options: Sequence[str] = ()) -> list[str]:
    """What ``--cfg-options`` get: one epoch from scratch, every iteration logged, no validation and no checkpoint.

    Args:
        options: More of them.
    """
    return [
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=2',
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.checkpoint.save_last=False',
        'model.pretrained=False',  # the machine may have no network, and no figure depends on the weights
        *options,
    ]


def train(config: str | Path, data: Path, work_dir: Path, options: Sequence[str]) -> None:
    """Runs ``tools/train.py`` in this process, so that what it leaves in the GPU's allocator can be read.

    Args:
        config: Config file.
        data: Folder of the data.
        work_dir: Folder of the log.
        options: For ``--cfg-options``, see :func:`training_options`.

    Raises:
        MmavError: What the tool would say in one line.
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
        after the first two, None where there were no more), ``numbers`` (what was decided about precision), ``peak``
        (bytes that the allocator held at most, to a MiB), ``steady`` (the same after the first two iterations, in which
        cuDNN tries kernels that need more) and ``reserved`` (bytes that it has taken from the GPU), all None on a CPU.

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
        batch_size: Clips of an iteration.
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
        ('memory, planned', _gib(found.get('planned'))),
        ('memory, peak after the second', _gib(found['steady'])),
        ('memory, peak of all', _gib(found['peak'])),
        ('memory, taken by the allocator', _gib(found['reserved'])),
    ]
    return [['training', 'measured'], *map(list, rows)]


def _gib(value: int | None) -> str:
    return '-' if value is None else f'{value / 2**30:.2f} GiB'
