"""How many clips may be missing or unreadable before training, validation or testing on a dataset is refused."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from torch import Tensor

from mmav.datasets.media import files_of
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
_REMEDY = 'fix them, remove them from the manifest, or raise max_broken_share'


def judge(ann_file: str, states: Tensor, share: float, *, of_all: bool = False) -> None:
    """Ends the run if too many clips are broken.

    Args:
        ann_file: The manifest.
        states: State of each of its clips (N,).
        share: The share of broken clips above which the run ends.
        of_all: Use the share of all clips, not of those seen: then intact clips that follow cannot lower it.

    Raises:
        TooManyBrokenClips: There are too many.
    """
    broken, seen, number = int((states == BROKEN).sum()), int((states != UNSEEN).sum()), len(states)
    if broken and broken == number:
        raise TooManyBrokenClips(f'none of the {number} clips of {ann_file} can be read; the log names each')
    if seen >= min(JUDGED_FROM, number) and broken > share * (number if of_all else seen):
        raise TooManyBrokenClips(
            f'{broken} of the {seen} clips seen of {ann_file} cannot be read, more than max_broken_share={share:g}; '
            f'the log names each: {_REMEDY}'
        )


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
    if len(_missing(dataset, sample)) <= min(share * len(sample), len(sample) - 1):
        return
    missing = _missing(dataset, range(number))
    if missing and len(missing) == number:
        raise TooManyBrokenClips(
            f'none of the {number} clips of {dataset.ann_file} can be read: all files are missing, e.g. {missing[0]}; '
            + ('give the shards that it was packed in' if dataset.shards else _REMEDY_OF_ROOT)
        )
    if len(missing) > share * number:
        raise TooManyBrokenClips(
            f'{len(missing)} of the {number} clips of {dataset.ann_file} cannot be read: there is no {missing[0]}, for '
            f'one; that is more than max_broken_share={share:g}: {_REMEDY}'
        )


def _missing(dataset: Any, indices: Any) -> list[str]:
    clips = [files_of(dataset.get_data_info(int(index))['path']) for index in indices]
    there = {file: _is_there(file) for file in dict.fromkeys(file for files in clips for file in files)}
    lost = (next((file for file in files if not there[file]), None) for files in clips)
    return [file for file in lost if file is not None]


def _is_there(file: str) -> bool:
    return file.is_there() if isinstance(file, ShardMember) else os.path.exists(file)
