"""Training epochs in which rare classes come as often as common ones."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from mmav.datasets.av_dataset import Draw
from mmav.datasets.class_counts import AST_OFFSET, clip_weights, labels_of
from mmav.datasets.epoch_samplers import blocks
from mmav.datasets.shared_array import compact
from mmav.errors import ConfigError, did_you_mean
from mmav.registry import DATA_SAMPLERS

COMBINE = ('sum', 'max')


@DATA_SAMPLERS.register_module()
class ClassBalancedSampler(Sampler[int]):
    """Draws clips with a probability that falls with the number of clips of their classes.

    The weights of clips are :func:`~mmav.datasets.class_counts.clip_weights`; with the defaults they, and the drawing
    with replacement, are those of AST (``torch.utils.data.WeightedRandomSampler``). An epoch is a function of (seed,
    epoch): with several processes it is the same order, dealt out in turn. A clip that comes again in an epoch is
    augmented anew. Clips without a class are never drawn; their number is logged.

    Args:
        dataset: An AVDataset or FeatureDataset, or a wrapper of some, see :mod:`mmav.datasets.wrappers`.
        seed: Seed of the drawing; drawn, and the same in all processes, if None.
        part: Part of the label whose classes are balanced, where it has several.
        offset: Added to the number of clips of each class; the larger, the less the rarest classes are preferred.
        power: 1 balances classes, 0.5 draws them in proportion to the root of their numbers of clips.
        combine: 'sum' or 'max' of the weights of a clip's classes.
        num_samples: Clips of an epoch; as many as the dataset has, if None.
        replacement: Whether a clip may come several times in an epoch.

    Raises:
        ConfigError: An argument is out of its range, the dataset has no known classes, or no clip has a class.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int | None = None,
        *,
        part: str | None = None,
        offset: float = AST_OFFSET,
        power: float = 1.0,
        combine: str = 'sum',
        num_samples: int | None = None,
        replacement: bool = True,
    ) -> None:
        if not offset > 0:
            raise ConfigError(f'ClassBalancedSampler: offset={offset!r} must be above 0')
        if not power > 0:
            raise ConfigError(f'ClassBalancedSampler: power={power!r} must be above 0; DefaultSampler draws all alike')
        if combine not in COMBINE:
            raise ConfigError(
                f'ClassBalancedSampler: combine={combine!r} is unknown: choose {" or ".join(COMBINE)}'
                f'{did_you_mean(combine, COMBINE)}'
            )
        if num_samples is not None and (type(num_samples) is not int or num_samples < 1):
            raise ConfigError(f'ClassBalancedSampler: num_samples={num_samples!r} must be a whole number above 0')
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        labels = labels_of(dataset, part or self._only_part(dataset))
        if combine != 'sum' and labels.number.max(initial=0) < 2:
            raise ConfigError(
                f'ClassBalancedSampler: combine={combine!r} has no effect, as no clip has several classes'
            )
        self.weights = torch.from_numpy(clip_weights(labels, offset=offset, power=power, combine=combine))
        drawn = int((self.weights > 0).sum())
        if not drawn:
            raise ConfigError(f'ClassBalancedSampler: none of the {len(self.weights)} clips has a class')
        if drawn < len(self.weights):
            print_log(
                f'ClassBalancedSampler: {len(self.weights) - drawn} of {len(self.weights)} training clips have no '
                'class and are not drawn',
                'current',
                level=logging.WARNING,
            )
        self.length = int(num_samples or len(self.weights))
        self.replacement = replacement
        if not replacement and self.length > drawn:
            raise ConfigError(
                f'ClassBalancedSampler: replacement=False cannot draw {self.length} of {drawn} clips: set num_samples '
                'to a part of them, or leave replacement out'
            )
        if not replacement and self.length == drawn:
            raise ConfigError(
                f'ClassBalancedSampler: replacement=False draws all of the {drawn} clips once, which balances nothing: '
                'set num_samples to a part of them, or leave replacement out'
            )

    @staticmethod
    def _only_part(dataset: Any) -> str:
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        if isinstance(classes, dict):
            raise ConfigError(
                f'ClassBalancedSampler: the label has the parts {" and ".join(classes)}: name the one to balance, '
                f'part={next(iter(classes))!r}'
            )
        return 'label'

    def __iter__(self) -> Iterator[int]:
        """The indices of this process in an epoch."""
        return self.iter_from(0)

    def iter_from(self, place: int) -> Iterator[int]:
        """The indices of this process in an epoch, from one place on."""
        return self._indices(place, self.seed + self.epoch)

    def _indices(self, place: int, seed: int) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(seed)
        drawn = torch.multinomial(self.weights, self.length, self.replacement, generator=generator).numpy()
        # as DefaultSampler: the first come again, until every process has as many
        order = np.resize(compact(drawn), len(self) * self.world_size)
        repeats = _repeats(order)
        for places in blocks(self.rank + place * self.world_size, len(order), self.world_size):
            for index, repeat in zip(order[places].tolist(), repeats[places].tolist(), strict=True):
                yield Draw.of(index, None, repeat=repeat)

    def __len__(self) -> int:
        """How many indices this process has in an epoch."""
        return math.ceil(self.length / self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, on which the order depends."""
        self.epoch = epoch


def _repeats(order: np.ndarray) -> np.ndarray:
    """How often each index of an order (L,) has come before (L,)."""
    places = np.argsort(order, kind='stable')
    firsts = np.flatnonzero(np.diff(order[places], prepend=-1))
    numbers = np.diff(firsts, append=len(order))
    repeats = np.empty_like(places)
    repeats[places] = np.arange(len(order)) - np.repeat(firsts, numbers)
    return compact(repeats)
