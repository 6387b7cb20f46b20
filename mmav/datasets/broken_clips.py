"""How many clips may be missing or unreadable before training, validation or testing on a dataset is refused."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from mmav.datasets.media import files_of
from mmav.datasets.seldom import Seldom
from mmav.datasets.shards.index import INDEX, SHARDS
from mmav.datasets.shards.shard_set import ShardMember
from mmav.errors import TooManyBrokenClips

# State of a clip. Processes that have read different clips take the maximum.
UNSEEN, WHOLE, BROKEN, DAMAGED = range(4)
# The share of broken clips is checked once this many clips were seen (or all of a smaller dataset): one broken clip
# among the first three says nothing.
JUDGED_FROM = 50
# How many files are checked at the start of a run; checking all would take minutes on some network disks.
LOOKED_FOR = 1000
_REMEDY_OF_ROOT = 'give the folder that their paths are relative to with --data-root'
_AT_ONCE = 1 << 16
_REMEDY = 'fix them, remove them from the manifest, or raise max_broken_share'


def judge(ann_file: str, states: Tensor, share: float, *, of_all: bool = False) -> tuple[int, int]:
    """Ends the run if too many clips are broken.

    Args:
        ann_file: The manifest.
        states: State of each of its clips (N,).
        share: The share of broken clips above which the run ends.
        of_all: Use the share of all clips, not of those seen: then intact clips that follow cannot lower it.

    Returns:
        How many clips are broken, and how many were seen.

    Raises:
        TooManyBrokenClips: There are too many.
    """
    number = len(states)
    broken, unseen = (_count(states.numpy(), state) for state in (BROKEN, UNSEEN))
    seen = number - unseen
    if broken and broken == number:
        raise TooManyBrokenClips(f'none of the {number} clips of {ann_file} can be read; the log names each')
    if seen >= min(JUDGED_FROM, number) and broken > share * (number if of_all else seen):
        raise TooManyBrokenClips(
            f'{broken} of the {seen} clips seen of {ann_file} cannot be read, more than max_broken_share={share:g}; '
            f'the log names each: {_REMEDY}'
        )
    return broken, seen


def _count(states: np.ndarray, state: int) -> int:
    """How many clips have a state, without another array of their number."""
    parts = range(0, len(states), _AT_ONCE)
    return sum(int(np.count_nonzero(states[begin : begin + _AT_ONCE] == state)) for begin in parts)


class Judge:
    """Ends a training run with too many broken clips; in one with millions it does not count them for each of these.

    Args:
        ann_file: The manifest.
        states: State of each of its clips (N,), which all workers share.
    """

    def __init__(self, ann_file: str, states: Tensor) -> None:
        self._ann_file, self._states = ann_file, states
        self._seldom = Seldom(len(states))

    def __call__(self, share: float, *, new: bool) -> None:
        """Judges after a broken clip was met.

        Args:
            share: The share of broken clips above which the run ends.
            new: Whether it was not known to be broken.

        Raises:
            TooManyBrokenClips: There are too many.
        """
        if self._seldom.due(int(new)):
            broken, seen = judge(self._ann_file, self._states, share)
            # with fewer new ones there cannot be too many; where all but one may be broken, none can be left
            self._seldom.wait((len(self._states) if share == 1 else share * seen) - broken)


def require_files(dataset: Any) -> None:
    """Refuses to start a run if more files of an AVDataset are missing than may be broken.

    Checks a sample of the files first, and all of them if too many of the sample are missing.

    Raises:
        TooManyBrokenClips: Too many files are missing.
    """
    if not dataset.reads_files:
        return
    if dataset.shards is not None:
        dataset.shards.require_own_index()
    number, share = len(dataset), dataset.max_broken_share
    sample = np.unique(np.linspace(0, number - 1, LOOKED_FOR).round().astype(int))
    if _missing(dataset, sample)[0] <= min(share * len(sample), len(sample) - 1):
        return
    missing, first = _missing(dataset, range(number))
    if missing and missing == number:
        raise TooManyBrokenClips(
            f'none of the {number} clips of {dataset.ann_file} can be read: all files are missing, e.g. {first}; '
            + _remedy_of_all(dataset)
        )
    if missing > share * number:
        raise TooManyBrokenClips(
            f'{missing} of the {number} clips of {dataset.ann_file} cannot be read: there is no {first}, for '
            f'one; that is more than max_broken_share={share:g}: {_REMEDY}'
        )


def _remedy_of_all(dataset: Any) -> str:
    if dataset.shards is not None:
        return 'give the shards that it was packed in'
    if os.path.isfile(os.path.join(dataset.data_root, SHARDS, INDEX)):
        return f'they are packed: give --shards {SHARDS}, or the dataset shards={SHARDS!r}'
    return _REMEDY_OF_ROOT


def _missing(dataset: Any, indices: Iterable[int]) -> tuple[int, str | None]:
    """How many clips lack a file, and the first file that is lacking."""
    number, first = 0, None
    # clips that are parts of one file stand together
    is_there = lru_cache(maxsize=1 << 12)(_is_there)
    for index in indices:
        lost = next((file for file in files_of(dataset.get_data_info(int(index))['path']) if not is_there(file)), None)
        number, first = number + (lost is not None), first or lost
    return number, first


def _is_there(file: str) -> bool:
    return file.is_there() if isinstance(file, ShardMember) else os.path.exists(file)
