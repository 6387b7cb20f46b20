"""One manifest for audio, video or both."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset, get_worker_info

from mmav.class_names import read_classes
from mmav.datasets.broken_clips import BROKEN, DAMAGED, WHOLE, judge
from mmav.datasets.manifest import read_manifest
from mmav.datasets.reading import SLOTS, remember
from mmav.errors import MediaError, MmavError, did_you_mean
from mmav.parallel import NO_SHARED_MEMORY, shared_memory_problem
from mmav.registry import DATASETS, TRANSFORMS
from mmav.structures import MODALITIES, as_given, as_parts


class Draw(int):
    """An index that knows how often its clip was drawn before, which decides its augmentation.

    A worker reads ahead: what it is told of the round when it reads may be of another one.

    Attributes:
        epoch: The round over the data, from 0 on; None for the one that the data set has been told.
        repeat: How often the clip came before in this round.
    """

    epoch: Any
    repeat: int

    @classmethod
    def of(cls, index: int, epoch: int | None, *, repeat: int = 0) -> Draw:
        """An index of a round."""
        draw = cls(index)
        draw.epoch, draw.repeat = epoch, repeat
        return draw


@DATASETS.register_module()
class AVDataset(Dataset[Any]):
    """The clips of a CSV manifest (:mod:`mmav.datasets.manifest`), read by a pipeline of transforms.

    An item starts as a dict of ``path``, ``label``, ``start``, ``end``, ``sample_idx``, ``modalities``, ``dropped``,
    ``dropout``, ``broken`` and ``rng``, a generator seeded with (seed, epoch, index) in training and (seed, index) in
    testing: what is drawn depends on neither workers nor ranks.

    A clip that cannot be read: in training it is logged once, counted and replaced by another, drawn at random; above
    ``max_broken_share`` the run stops. In testing it stays: ``broken`` holds the reason, its inputs are zeros and its
    masks False, and the metric counts it as wrong; above the same share the runner ends validation and testing. Of a
    damaged clip what can be decoded is used; it is logged once and counted, too.

    A clip without audio or video is whole: its mask is False for what it has not. ``modality_dropout`` makes the
    model used to that: training withholds a modality from some clips, another draw each epoch.

    Args:
        ann_file: Manifest, relative to ``data_root`` or absolute.
        pipeline: Configs of transforms, or transforms.
        classes: Class list, a file relative to ``data_root`` or absolute, or the names themselves. With
            ``dict(verb='verbs.txt', noun='nouns.txt')`` the manifest has the columns verb and noun in place of label,
            and ``label`` of an item is a dict of both.
        data_root: Folder that paths are relative to.
        modalities: 'video', 'audio' or both; what is not named is not decoded.
        test_mode: Whether clips are tested on.
        modality_dropout: Modality -> share of the clips from which training withholds it. No clip loses all it has, so
            the shares add up to 1 at most. Testing withholds nothing of itself.
        drop: Modalities that are withheld from every clip.
        max_broken_share: Share of unreadable clips above which training, validation and testing stop. In training it is
            judged among the clips seen, from the 50th on, in a smaller dataset when all were seen; else among all.
        part_of: The data set that the clips are a part of, such as Kinetics-400, if any: a config whose model starts
            from public weights that have seen it is refused (:mod:`mmav.models.weights.uses`).
        seed: Seed of all that is drawn. None is the run's, ``randomness.seed``, in training, and 0 in testing, so that
            figures of a checkpoint do not depend on the run.
        indices: Take these rows only (counted from 0), or the first so many.

    Raises:
        ManifestError: The manifest or class list is missing or wrong.
        ValueError: An argument makes no sense.

    Attributes:
        states: What is known of each clip, see :mod:`mmav.datasets.broken_clips`, in all workers of this process (N,).
        readers: Process numbers of workers, 0 for none, and the indices that they read (:meth:`reading`).
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[Any],
        *,
        classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] = 'classes.txt',
        data_root: str = '',
        modalities: Sequence[str] = MODALITIES,
        test_mode: bool = False,
        modality_dropout: Mapping[str, float] | None = None,
        drop: Sequence[str] = (),
        max_broken_share: float = 0.1,
        part_of: str | None = None,
        seed: int | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        _check_modalities(modalities, modality_dropout or {}, drop)
        if not 0 <= max_broken_share <= 1:
            raise ValueError(f'max_broken_share must lie in [0, 1], got {max_broken_share}')
        self.data_root = os.path.expanduser(data_root or '')
        self.ann_file = os.path.join(self.data_root, ann_file)
        names = {part: self._names(each) for part, each in as_parts(classes).items()}
        self.manifest = read_manifest(self.ann_file, names)
        # as checkpoints note it
        self.metainfo: dict[str, Any] = dict(classes=as_given(names))
        self.modalities = tuple(modalities)
        self.test_mode = test_mode
        self.modality_dropout = dict(modality_dropout or {})
        self.drop = tuple(drop)
        self.max_broken_share = max_broken_share
        self.part_of = part_of
        self._follows_run = seed is None and not test_mode
        self.seed = seed or 0
        self._rows = self._select(indices)
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        # Shared memory: workers that persist over epochs, forked or spawned, see the epoch and tell what they saw.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self.states = torch.zeros(len(self._rows), dtype=torch.uint8)
        self.readers = torch.zeros(SLOTS, 2, dtype=torch.int64)
        # Where there is none, as without /dev/shm, one process does without.
        self._is_shared = shared_memory_problem(self._epoch, self.states, self.readers) is None
        remember(self)

    @property
    def num_classes(self) -> int | dict[str, int]:
        """Length of the class list, or of each of them."""
        return as_given({part: len(names) for part, names in as_parts(self.metainfo['classes']).items()})

    def __len__(self) -> int:
        return len(self._rows)

    def full_init(self) -> None:
        """Does nothing; MMEngine's wrappers, such as RepeatDataset, call it on what they wrap."""

    def set_epoch(self, epoch: int) -> None:
        """Makes the next items those of the epoch; workers that are running see it, too."""
        self._epoch[0] = epoch

    def follow_seed(self, seed: int) -> None:
        """Takes the run's seed, unless the data set has one of its own; before workers start."""
        if self._follows_run:
            self.seed = seed

    def broken_count(self) -> int:
        """How many different clips could not be read so far, in all workers of this process."""
        return int((self.states == BROKEN).sum())

    def damaged_count(self) -> int:
        """How many different clips were read but for some damage, in all workers of this process."""
        return int((self.states == DAMAGED).sum())

    def get_cat_ids(self, index: int) -> list[Any]:
        """The class of a clip, of several parts their combination, for ClassBalancedDataset."""
        return [tuple(self.manifest[int(self._rows[index])].label.values())]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The row of a clip, as the pipeline gets it but for ``rng``."""
        row_index = int(self._rows[index])
        row = self.manifest[row_index]
        return dict(
            path=os.path.join(self.data_root, row.path),
            label=row.label,
            start=row.start,
            end=row.end,
            sample_idx=row_index,
            modalities=self.modalities,
            dropped=self.drop,
            dropout=(),
            broken=None,
        )

    @contextmanager
    def reading(self, index: int) -> Iterator[None]:
        """Notes for as long as this process reads a clip that it does, so that its death can name the clip."""
        pid = os.getpid()
        row = self.readers[pid % SLOTS]
        row[1], row[0] = index, pid
        try:
            yield
        finally:
            row[0] = 0

    def describe(self, index: int) -> str:
        """Path of a clip and its place in the manifest."""
        return f'{self.get_data_info(index)["path"]} ({self._place(index)})'

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f'clip {index} of {len(self)}')
        drawn = self._drawn(index)
        index %= len(self)
        if not self._is_shared and get_worker_info() is not None:
            raise MmavError(
                f'num_workers above 0 needs shared memory, and there is none: {NO_SHARED_MEMORY}, or give 0'
            )
        if self.test_mode:
            return self._test_item(index)
        item, others = self._train_item(index, drawn), None
        while item is None:
            # Drawn apart from the augmentation, so that it does not matter which worker met the broken clip first.
            others = others or np.random.default_rng((self.seed, drawn.epoch, index, 1))
            item = self._train_item(int(others.integers(len(self))), drawn)
        return item

    def _drawn(self, index: int) -> Draw:
        """What decides the augmentation of a clip; a sampler or wrapper may know better than what training is at."""
        known = index if isinstance(index, Draw) else Draw.of(index, None)
        return known if known.epoch is not None else Draw.of(known, int(self._epoch[0]), repeat=known.repeat)

    def _train_item(self, index: int, drawn: Draw) -> Any:
        """A clip, or None where it is broken."""
        if self.states[index] == BROKEN:
            judge(self.ann_file, self.states, self.max_broken_share)
            return None
        info = self.get_data_info(index)
        again = (3, drawn.repeat) if drawn.repeat else ()
        key = (self.seed, drawn.epoch, info['sample_idx'], *again)
        results = dict(info, rng=np.random.default_rng(key), dropout=self._draw_dropout(key))
        try:
            return self._read(index, results)
        except MediaError as error:
            self._mark(index, BROKEN, f'broken clip, is replaced by another: {error}')
            judge(self.ann_file, self.states, self.max_broken_share)
            return None

    def _draw_dropout(self, key: tuple[int, ...]) -> tuple[str, ...]:
        """The modality withheld this time, if any; drawn apart, so that augmentation is the same with and without."""
        if self.modality_dropout:
            point = np.random.default_rng((*key, 2)).random()
            for modality, share in self.modality_dropout.items():
                if point < share:
                    return (modality,)
                point -= share
        return ()

    def _test_item(self, index: int) -> Any:
        info = self.get_data_info(index)
        rng = np.random.default_rng((self.seed, info['sample_idx']))
        try:
            return self._read(index, dict(info, rng=rng))
        except MediaError as error:
            self.states[index] = BROKEN
            # not logged here: the metric names it once, with this reason
            return self.pipeline(dict(info, rng=rng, broken=f'{error.reason} ({self._place(index)})'))

    def _names(self, classes: str | Sequence[str]) -> tuple[str, ...]:
        return read_classes(os.path.join(self.data_root, classes)) if isinstance(classes, str) else tuple(classes)

    def _select(self, indices: int | Sequence[int] | None) -> np.ndarray:
        rows = np.arange(len(self.manifest))
        if indices is None:
            return rows
        if isinstance(indices, int):
            indices = range(min(indices, len(rows)))
        if not len(indices):
            raise ValueError(f'indices leave none of the {len(rows)} rows of {self.ann_file}')
        outside = [i for i in indices if not 0 <= i < len(rows)]
        if outside:
            raise ValueError(f'indices {outside[:5]} lie outside the {len(rows)} rows of {self.ann_file}')
        return rows[list(indices)]

    def _read(self, index: int, results: dict[str, Any]) -> Any:
        with self.reading(index):
            item = self.pipeline(results)
        # What went into the pipeline, LoadClip has filled.
        if damaged := results.get('damaged', 0):
            what = f'{results["path"]}: {damaged} packets cannot be decoded'
            self._mark(index, DAMAGED, f'damaged clip, what is left of it is used: {what}')
        elif self.states[index] != DAMAGED:
            self.states[index] = WHOLE
        return item

    def _mark(self, index: int, state: int, message: str) -> None:
        """Notes what is wrong with a clip, and logs it when it is met first."""
        if self.states[index] != state:
            print_log(f'{message} ({self._place(index)})', 'current', level=logging.WARNING)
        self.states[index] = state

    def _place(self, index: int) -> str:
        return f'{self.ann_file}, row {self.manifest[int(self._rows[index])].line}'


def _check_modalities(modalities: Sequence[str], dropout: Mapping[str, float], drop: Sequence[str]) -> None:
    if not modalities:
        raise ValueError(f'modalities is empty; name one or both of {", ".join(MODALITIES)}')
    for known, names in ((MODALITIES, modalities), (tuple(modalities), (*dropout, *drop))):
        for modality in names:
            if modality not in known:
                raise ValueError(f'modality {modality!r} is none of {", ".join(known)}{did_you_mean(modality, known)}')
    if set(modalities) <= set(drop):
        raise ValueError(f'drop={list(drop)} leaves nothing of modalities={list(modalities)}')
    if any(share < 0 for share in dropout.values()) or sum(dropout.values()) > 1:
        raise ValueError(f'modality_dropout={dict(dropout)}: shares from 0 on that add up to 1 at most')
