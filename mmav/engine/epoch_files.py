"""Which checkpoints of a work dir a user means by their epochs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmav.errors import CheckpointError, ConfigError

_SPAN = re.compile(r'(\d+)(?:-(\d+))?')
_EPOCH = re.compile(r'epoch_(\d+)\.pth')


def read_epochs(words: Iterable[str]) -> list[int]:
    """Numbers of epochs from words such as ``21-25`` and ``30``, ascending.

    Raises:
        ConfigError: A word is neither, a span runs backwards, or an epoch is 0: they count from 1.

    >>> read_epochs(['21-23', '30'])
    [21, 22, 23, 30]
    """
    found: set[int] = set()
    for word in words:
        match = _SPAN.fullmatch(word)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or first < 1:
            raise ConfigError(f'--epochs {word}: give numbers such as 30 and spans such as 21-25')
        found.update(range(first, last + 1))
    return sorted(found)


def files_of_epochs(work_dir: str | Path, epochs: Sequence[int]) -> list[Path]:
    """The checkpoints ``epoch_N.pth`` of a work dir.

    Raises:
        CheckpointError: It is no folder, or an epoch's checkpoint is not there.
    """
    folder = Path(work_dir).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"'{work_dir}' is no folder: --epochs are those of a work dir")
    here = sorted(int(match[1]) for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name)))
    missing = [epoch for epoch in epochs if epoch not in here]
    if missing:
        has = f'it has {_spans(here)}' if here else 'it has none'
        # the default keeps the last few; those before them were written and removed
        kept = max([*here, *epochs]) - min(missing) + 1
        late = 'training has not come that far' if here and min(missing) > here[-1] else ''
        remedy = late or f'train with default_hooks.checkpoint.max_keep_ckpts={kept} or more'
        raise CheckpointError(f"'{work_dir}' has no checkpoint of epoch {_spans(missing)} ({has}): {remedy}")
    return [folder / f'epoch_{epoch}.pth' for epoch in epochs]


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers in words that :func:`read_epochs` reads.

    >>> _spans([1, 2, 3, 7])
    '1-3, 7'
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ', '.join(f'{first}-{last}' if last > first else f'{first}' for first, last in spans)
