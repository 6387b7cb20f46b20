"""Checks of a data loader before the first batch, and of broken clips during validation and testing.

Each error is one line that names the data loader, instead of a traceback or, worse, a wrong metric.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from torch import nn
from torch.utils.data import DataLoader

from mmav.datasets.broken_clips import BROKEN, judge, require_files
from mmav.datasets.class_balanced_sampler import ClassBalancedSampler
from mmav.datasets.resumable_sampler import is_endless
from mmav.datasets.shards.sampler import ShardSampler
from mmav.datasets.wrappers import ClassBalancedDataset, RepeatDataset
from mmav.engine.hooks.seed import datasets_within
from mmav.engine.loops import refuse_endless
from mmav.errors import ConfigError, TooManyBrokenClips
from mmav.models.heads import ContrastiveHead


def check_loader(name: str, loader: Any) -> None:
    """Checks a dataloader.

    Args:
        name: Its name in the config: ``train_dataloader``, ``val_dataloader`` or ``test_dataloader``.
        loader: The dataloader.

    Raises:
        ConfigError: It has no batch; or validation or testing would never end, or would skip, replace or augment clips.
        TooManyBrokenClips: Too many of its files are missing.
    """
    if not isinstance(loader, DataLoader):
        return
    training = name == 'train_dataloader'
    if not training:
        refuse_endless(loader, name)
    if not training and _drops_last(loader):
        raise ConfigError(
            f'{name}.drop_last=True: the last clips would be left out of the result; remove it from the config'
        )
    _require_batches(name, loader)
    if not training:
        _refuse_repeats(name, loader)
    sampler = getattr(loader.sampler, 'inner', loader.sampler)
    for dataset in _av_datasets(loader):
        if dataset.test_mode == training:
            ends = 'every clip be read in the same way' if training else 'clips be augmented and broken ones replaced'
            raise ConfigError(
                f'{name}: {dataset.ann_file} has test_mode={dataset.test_mode}, so that {ends}; '
                f'set {name}.dataset.test_mode={not training}'
            )
        if dataset.modality_dropout and not training:
            raise ConfigError(
                f'{name}: modality_dropout={dataset.modality_dropout} has no effect in testing, which withholds '
                'nothing at random; to withhold a modality from every clip, use drop'
            )
        shards = getattr(dataset, 'shards', None)
        if shards is not None and shards.is_forward and not isinstance(sampler, ShardSampler):
            raise ConfigError(
                f'{name}: {dataset.ann_file} is in shards that a command prints, which are read forward only: set '
                f"{name}.sampler=dict(type='ShardSampler')"
            )
        require_files(dataset)


def follow_loader(loader: Any) -> None:
    """Tells a ShardSampler the batches and workers of its data loader.

    Raises:
        ConfigError: It cannot deal with them.
    """
    sampler = getattr(loader.sampler, 'inner', loader.sampler)
    if isinstance(sampler, ShardSampler):
        in_order = getattr(loader, 'in_order', True)
        sampler.follow_loader(loader.batch_size, loader.num_workers, in_order=in_order)


def _refuse_repeats(name: str, loader: DataLoader) -> None:
    """Refuses to count clips of a validation or test set several times, or not at all."""
    kinds = [part for part in datasets_within(loader.dataset) if isinstance(part, RepeatDataset | ClassBalancedDataset)]
    if kinds:
        raise ConfigError(
            f'{name}: a {type(kinds[0]).__name__} would count clips several times in the result; give what it wraps'
        )
    sampler = getattr(loader.sampler, 'inner', loader.sampler)
    if isinstance(sampler, ClassBalancedSampler | ShardSampler):
        would = 'put clips out of order in' if isinstance(sampler, ShardSampler) else 'leave clips out of'
        raise ConfigError(
            f'{name}.sampler: a {type(sampler).__name__} would {would} the result; take '
            "dict(type='DefaultSampler', shuffle=False)"
        )


def check_contrast(loader: Any, model: nn.Module) -> None:
    """Refuses batches of one clip for losses that compare clips: such losses would be constant.

    Raises:
        ConfigError: The batch of all processes is one clip, and the model has contrastive losses.
    """
    size = getattr(loader, 'batch_size', None)
    if (
        size is not None
        and size * get_world_size() == 1
        and any(isinstance(m, ContrastiveHead) for m in model.modules())
    ):
        raise ConfigError(
            'train_dataloader.batch_size=1: contrastive losses compare the clips of a batch, so with a single one '
            'they have no gradient; use a larger batch, or remove the losses from model.contrast'
        )


def judge_so_far(loader: Any) -> None:
    """Ends validation or testing if this process has already met too many unreadable clips.

    Raises:
        TooManyBrokenClips: There are too many even if all other clips are intact.
    """
    for dataset in _av_datasets(loader):
        _judge_now(dataset)


def judge_all(loader: Any) -> None:
    """Ends validation or testing if too many clips are unreadable over all processes; all of them must call it.

    Raises:
        TooManyBrokenClips: There are too many.
    """
    for dataset in _av_datasets(loader):
        states = dataset.states.to(torch.int32)
        all_reduce(states, 'max')
        judge(dataset.ann_file, states, dataset.max_broken_share)


def _judge_now(dataset: Any) -> None:
    try:
        judge(dataset.ann_file, dataset.states, dataset.max_broken_share, of_all=True)
    except TooManyBrokenClips:
        # the metric, which would name them, does not run
        for index in torch.nonzero(dataset.states == BROKEN).flatten().tolist():
            print_log(f'cannot be read: {dataset.get_data_info(index)["path"]}', 'current', level=logging.WARNING)
        raise


def _av_datasets(loader: Any) -> list[Any]:
    parts = datasets_within(getattr(loader, 'dataset', None))
    return [part for part in {id(part): part for part in parts}.values() if hasattr(part, 'max_broken_share')]


def _drops_last(loader: DataLoader) -> bool:
    return bool(loader.drop_last or getattr(loader.batch_sampler, 'drop_last', False))


def _require_batches(name: str, loader: DataLoader) -> None:
    sampler = loader.sampler
    try:
        batches, clips = len(loader), len(loader.dataset)  # type: ignore[arg-type]
    except TypeError:  # an iterable dataset
        return
    if batches or (clips and is_endless(sampler)):
        return
    if not clips:
        raise ConfigError(f'{name}: the dataset has no clip')
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    number, world = len(sampler), get_world_size()  # type: ignore[arg-type]
    share = f'{number} clips' if world == 1 else f'{number} clips for each of {world} processes, {clips} in all,'
    if not size:
        raise ConfigError(f'{name}: its batch_sampler makes no batch of {share}')
    raise ConfigError(
        f'{name}: {share} are fewer than batch_size={size}, and drop_last=True drops an incomplete batch; '
        f'set {name}.batch_size={number} or less, or {name}.drop_last=False'
    )
