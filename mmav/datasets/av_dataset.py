"""One manifest for audio, video or both."""

from __future__ import annotations

import copy
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import Dataset, get_worker_info

from mmav.class_names import Names, read_classes
from mmav.datasets.broken_clips import BROKEN, DAMAGED, WHOLE, Judge
from mmav.datasets.clip_cache import ClipCache, find_loader
from mmav.datasets.manifest import Manifest, join_path, read_manifest
from mmav.datasets.media import PairPath
from mmav.datasets.prepared_cache import PreparedCache, is_prepared
from mmav.datasets.reading import SLOTS, remember
from mmav.datasets.shards.forward import Pool
from mmav.datasets.shards.shard_set import open_shards
from mmav.datasets.shared_array import SharedArray
from mmav.errors import ConfigError, MediaError, MmavError, did_you_mean
from mmav.parallel import NO_SHARED_MEMORY, shared_memory_problem
from mmav.registry import DATASETS, TRANSFORMS
from mmav.structures import MODALITIES, as_given, as_parts


class Draw(int):
    """An index that also says how often its clip was drawn before, which decides its augmentation.

    A worker prefetches: the dataset's current epoch may not be the one that the index belongs to.

    Attributes:
        epoch: The epoch, from 0; None for the dataset's current epoch.
        repeat: How often the clip has already been drawn in this epoch.
        pool: The clips of shards that are read forward with it, if any, see :mod:`mmav.datasets.shards.forward`.
    """

    epoch: Any
    repeat: int
    pool: Pool | None

    @classmethod
    def of(cls, index: int, epoch: int | None, *, repeat: int = 0, pool: Pool | None = None) -> Draw:
        """An index in an epoch."""
        draw = cls(index)
        draw.epoch, draw.repeat, draw.pool = epoch, repeat, pool
        return draw

    @classmethod
    def inside(cls, given: int, index: int, *, repeat: int = 0, times: int = 1) -> Draw:
        """The index into what a wrapper wraps, for an index into the wrapper.

        Args:
            given: The index into the wrapper, a Draw or a plain number.
            index: That into the dataset inside.
            repeat: How often the wrapper has given this clip before, within one pass over the wrapper.
            times: How often it gives a clip at most.
        """
        before = getattr(given, 'repeat', 0)
        epoch, pool = getattr(given, 'epoch', None), getattr(given, 'pool', None)
        return cls.of(index, epoch, repeat=before * times + repeat, pool=pool)


@DATASETS.register_module()
class AVDataset(Dataset[Any]):
    """The clips of a CSV manifest (:mod:`mmav.datasets.manifest`), read by a pipeline of transforms.

    An item starts as a dict with ``path``, ``label``, ``num_classes`` of each part of it, ``start``, ``end``,
    ``sample_idx``, ``modalities``, ``dropped``, ``dropout``, ``broken`` and ``rng``, a generator seeded with (seed,
    epoch, index) in training and (seed, index) in testing, so that random draws depend on neither workers nor ranks.

    In training, a clip that cannot be read is logged once, counted and replaced by another, chosen at random; above
    ``max_broken_share`` the run stops. In testing it is kept: ``broken`` holds the reason, its inputs are zeros and its
    masks False, and the metric counts it as wrong; above the same share the runner ends validation and testing. Damaged
    clips are used as far as they can be decoded; they are also logged once and counted.

    A clip without audio or without video is not broken: its mask is False for the missing modality.
    ``modality_dropout`` prepares the model for that: in every epoch, training withholds a modality from some clips.

    Args:
        ann_file: Manifest, relative to ``data_root`` or absolute.
        pipeline: Configs of transforms, or transforms.
        classes: Class list, a file relative to ``data_root`` or absolute, or the names themselves. With
            ``dict(verb='verbs.txt', noun='nouns.txt')`` the manifest has the columns verb and noun instead of label,
            and ``label`` of an item is a dict of both.
        data_root: Folder that paths are relative to.
        multi_label: Whether a clip has any number of labels: names or indices separated by ``|`` in a cell, which is
            empty for a clip with none of the classes. Needs a head such as :class:`~mmav.models.MultiLabelHead`.
        labelled: Whether the manifest has labels. False, for testing only, needs no columns of them and reads none:
            ``label`` of an item is then an empty dict, and samples have no ground truth.
        modalities: 'video', 'audio' or both; others are not decoded.
        test_mode: Whether the clips are for validation or testing.
        modality_dropout: Modality -> share of the clips from which training withholds it. No clip loses all its
            modalities, so the shares add up to at most 1. Has no effect in testing.
        drop: Modalities that are withheld from every clip.
        max_broken_share: Share of unreadable clips above which training, validation and testing stop. In training it is
            the share of the clips seen, checked from the 50th clip on or once all were seen; otherwise of all clips.
        part_of: The dataset that the clips are a part of, such as Kinetics-400, if any: a config whose model starts
            from public weights trained on that dataset is refused (:mod:`mmav.models.weights.uses`).
        seed: Seed of all random draws. None means the run's, ``randomness.seed``, in training, and 0 in testing, so
            that a checkpoint's results do not depend on the run.
        indices: Use only these rows (counted from 0), or the first N if it is a number.
        cache: 'ram', or a folder on disk: keep decoded clips there, in memory that all processes of the machine share
            or from run to run (:mod:`mmav.datasets.clip_cache`). 'prepared', or 'prepared:DIR': keep there what the
            deterministic steps of the pipeline give, so that only the random ones are computed each time
            (:mod:`mmav.datasets.prepared_cache`). Items are the same, bit for bit, as without.
        shards: Where the clips are packed, by the names that the manifest gives them: a folder relative to
            ``data_root``, or an address that fsspec opens, with shards and their index; or a dict of ``index`` and
            ``source``, see :func:`mmav.datasets.shards.shard_set.open_shards`. Items are the same as from files.

    Raises:
        ManifestError: The manifest or class list is missing or wrong.
        ValueError: An argument is invalid; a ConfigError if the decoded clips do not fit, training has no labels, or
            there are no such shards.

    Attributes:
        states: State of each clip (N,), see :mod:`mmav.datasets.broken_clips`, shared by all workers of this process.
        readers: Process ids of workers, 0 for none, and the indices that they are reading (:meth:`reading`).
        reads_files: Whether items are read from the files of the manifest, which have to be there.
        known_modalities: The modalities that ``modalities`` may name.
        multi_label: As given.
        labelled: As given.
        shards: The shards, if clips are packed.
    """

    reads_files: ClassVar[bool] = True
    known_modalities: Sequence[str] = MODALITIES

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[Any],
        *,
        classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] = 'classes.txt',
        data_root: str = '',
        multi_label: bool = False,
        labelled: bool = True,
        modalities: Sequence[str] = MODALITIES,
        test_mode: bool = False,
        modality_dropout: Mapping[str, float] | None = None,
        drop: Sequence[str] = (),
        max_broken_share: float = 0.1,
        part_of: str | None = None,
        seed: int | None = None,
        indices: int | Sequence[int] | None = None,
        cache: str | None = None,
        shards: str | Mapping[str, str] | None = None,
    ) -> None:
        _check_modalities(modalities, modality_dropout or {}, drop, known=self.known_modalities)
        if not 0 <= max_broken_share <= 1:
            raise ValueError(f'max_broken_share must lie in [0, 1], got {max_broken_share}')
        self.data_root = os.path.expanduser(data_root or '')
        self.ann_file = os.path.join(self.data_root, ann_file)
        names = {part: self._names(each) for part, each in as_parts(classes).items()}
        if not labelled and not test_mode:
            raise ConfigError('labelled=False is for testing only, as training needs labels: leave it out')
        self.multi_label, self.labelled = multi_label, labelled
        self._sizes = {part: len(each) for part, each in names.items()}
        self.manifest = self._read_manifest(names)
        # as stored in checkpoints
        self.metainfo: dict[str, Any] = dict(classes=as_given(names), **(dict(multi_label=True) if multi_label else {}))
        self.modalities = tuple(modalities)
        self.test_mode = test_mode
        self.modality_dropout = dict(modality_dropout or {})
        self.drop = tuple(drop)
        self.max_broken_share = max_broken_share
        self.part_of = part_of
        self._follows_run = seed is None and not test_mode
        self.seed = seed or 0
        self.shards = None if shards is None else open_shards(shards, self.data_root)
        # the rows that the clips are, if they are not all
        self._chosen = self._select(indices)
        self._number = len(self.manifest if self._chosen is None else self._chosen.values)
        self._check_shards()
        self._first_row = 0
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline])
        # Shared memory: persistent workers, forked or spawned, see the epoch and report what they met.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self.states = torch.zeros(len(self), dtype=torch.uint8)
        self._judge = Judge(self.ann_file, self.states)
        self.readers = torch.zeros(SLOTS, 2, dtype=torch.int64)
        self._cache = None if cache is None else self._build_cache(cache, pipeline)
        tensors = self._epoch, self.states, self.readers, *(self._cache.tensors if self._cache else ())
        # Without shared memory, for example without /dev/shm, a single process needs none.
        self._is_shared = shared_memory_problem(*tensors) is None
        remember(self)

    @property
    def num_classes(self) -> int | dict[str, int]:
        """Length of the class list, or of each of them."""
        return as_given({part: len(names) for part, names in as_parts(self.metainfo['classes']).items()})

    @property
    def decoded(self) -> ClipCache | None:
        """The cache of decoded clips, if there is one."""
        return self._cache if isinstance(self._cache, ClipCache) else None

    @property
    def prepared(self) -> PreparedCache | None:
        """The cache of prepared clips, if there is one."""
        return self._cache if isinstance(self._cache, PreparedCache) else None

    def __len__(self) -> int:
        return self._number

    def full_init(self) -> None:
        """Does nothing; MMEngine's wrappers, such as RepeatDataset, call it on what they wrap."""

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next items, also for workers that are already running."""
        self._epoch[0] = epoch

    def follow_seed(self, seed: int) -> None:
        """Uses the run's seed unless the dataset has its own; call it before workers start."""
        if self._follows_run:
            self.seed = seed

    def broken_count(self) -> int:
        """How many different clips could not be read so far, in all workers of this process."""
        return int((self.states == BROKEN).sum())

    def damaged_count(self) -> int:
        """How many different clips were damaged but could be read, in all workers of this process."""
        return int((self.states == DAMAGED).sum())

    @property
    def rows(self) -> np.ndarray:
        """The rows of the manifest, counted from 0, that the clips are (N,)."""
        return np.arange(len(self)) if self._chosen is None else self._chosen.values

    def as_member(self, first_row: int, names: Names, places: Mapping[str, Sequence[int]]) -> AVDataset:
        """This dataset as one of several that are joined, see :class:`~mmav.datasets.ConcatDataset`.

        Args:
            first_row: How many rows the manifests before this one have: ``sample_idx`` counts the rows of all.
            names: Part of the label -> the classes of all.
            places: Part of the label -> which of them each class of this dataset is.

        Returns:
            A copy that shares the states of clips and the cache.
        """
        member = copy.copy(self)
        member._first_row = self._first_row + first_row
        member.manifest = self.manifest.relabelled(places)
        member.metainfo = {**self.metainfo, 'classes': as_given(names)}
        member._sizes = {part: len(each) for part, each in names.items()}
        remember(member)
        return member

    def get_cat_ids(self, index: int) -> list[Any]:
        """What ClassBalancedDataset balances: the class of a clip, the combination of several parts, or each label."""
        label = self.manifest[self._row(index)].label
        if self.multi_label:
            return [(part, each) for part, classes in label.items() for each in classes]
        return [tuple(label.values())]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The row of a clip, as the pipeline gets it, without ``rng``."""
        row_index = self._row(index)
        row = self.manifest[row_index]
        return dict(
            path=self.shards.member(row.path) if self.shards else join_path(self.data_root, row.path),
            label=row.label,
            num_classes=self._sizes,
            start=row.start,
            end=row.end,
            sample_idx=self._first_row + row_index,
            modalities=self.modalities,
            dropped=self.drop,
            dropout=(),
            broken=None,
        )

    @contextmanager
    def piped(self, pipeline: Any) -> Iterator[None]:
        """Reads clips by another pipeline, without a cache of prepared clips, which would leave out its first steps."""
        before = self.pipeline, self._cache
        self.pipeline, self._cache = pipeline, None if self.prepared else self._cache
        try:
            yield
        finally:
            self.pipeline, self._cache = before

    @contextmanager
    def reading(self, index: int) -> Iterator[None]:
        """Records that this process is reading a clip, so that an error can name the clip if the process dies."""
        pid = os.getpid()
        row = self.readers.numpy()[pid % SLOTS]
        row[1], row[0] = index, pid
        try:
            yield
        finally:
            row[0] = 0

    def describe(self, index: int) -> str:
        """Path of a clip and its place in the manifest."""
        return f'{self.get_data_info(index)["path"]} ({self.place_of(index)})'

    def fetch(self, indices: Iterable[int]) -> None:
        """Begins to read the bytes of clips that will be read next, where that saves waiting: shards at an address."""
        if self.shards is not None and self.shards.store.is_remote and self._cache is None:
            draws = [index for index in indices if getattr(index, 'pool', None) is None]
            self.shards.fetch([self.get_data_info(index)['path'].clip for index in draws])

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The clips of a batch, as a DataLoader asks for them."""
        self.fetch(indices)
        return [self[index] for index in indices]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f'clip {index} of {len(self)}')
        drawn = self._drawn(index)
        index %= len(self)
        if not self._is_shared and get_worker_info() is not None:
            raise MmavError(
                f'num_workers above 0 needs shared memory, which is missing: {NO_SHARED_MEMORY}, or set it to 0'
            )
        if self.test_mode:
            return self._test_item(index)
        item, others = self._train_item(index, drawn), None
        while item is None:
            others = others or self._others(index, drawn)
            item = self._train_item(next(others), drawn)
        return item

    def _others(self, index: int, drawn: Draw) -> Iterator[int]:
        """Clips to take in place of a broken one.

        Drawn independently of the augmentation, so it does not matter which worker met the broken clip first.
        """
        again = (drawn.repeat,) if drawn.repeat else ()
        rng = np.random.default_rng((self.seed, drawn.epoch, index, 1, *again))
        if drawn.pool is not None:  # whose bytes are at hand
            yield from rng.permutation(drawn.pool.clips).tolist()
        while True:
            yield int(rng.integers(len(self)))

    def _drawn(self, index: int) -> Draw:
        """What determines the augmentation of a clip: the index's own epoch, if it has one, else the current epoch."""
        known = index if isinstance(index, Draw) else Draw.of(index, None)
        if known.epoch is not None:
            return known
        return Draw.of(known, int(self._epoch[0]), repeat=known.repeat, pool=known.pool)

    def _train_item(self, index: int, drawn: Draw) -> Any:
        """A clip, or None if it is broken."""
        if self.states.numpy()[index] == BROKEN:
            self._judge(self.max_broken_share, new=False)
            return None
        info = self.get_data_info(index)
        again = (3, drawn.repeat) if drawn.repeat else ()
        key = (self.seed, drawn.epoch, info['sample_idx'], *again)
        if drawn.pool is not None and self.shards is not None:
            info['path'] = info['path'].within(drawn.pool)
        results = dict(info, rng=np.random.default_rng(key), dropout=self._draw_dropout(key))
        try:
            return self._read(index, results)
        except MediaError as error:
            self._mark(index, BROKEN, f'broken clip, replaced by another: {error}')
            self._judge(self.max_broken_share, new=True)
            return None

    def _draw_dropout(self, key: tuple[int, ...]) -> tuple[str, ...]:
        """The modality to withhold, if any; drawn independently, so that augmentation is the same without dropout."""
        if self.modality_dropout:
            point = np.random.default_rng((*key, 2)).random()
            for modality, share in self.modality_dropout.items():
                if point < share:
                    return (modality,)
                point -= share
        return ()

    def _test_item(self, index: int) -> Any:
        info = self.get_data_info(index)
        # by its own row: what a clip gives does not depend on the datasets that this one is joined with
        rng = np.random.default_rng((self.seed, self._row(index)))
        try:
            return self._read(index, dict(info, rng=rng))
        except MediaError as error:
            self.states[index] = BROKEN
            # not logged here: the metric names it once, with this reason
            return self.pipeline(dict(info, rng=rng, broken=f'{error.reason} ({self.place_of(index)})'))

    def _check_shards(self) -> None:
        if self.shards is None:
            return
        if isinstance(self.manifest[0].path, PairPath):
            raise ConfigError(
                f'{self.ann_file}: clips in several files are not in shards: join them with `mmav prepare`, then '
                '`mmav make-shards`'
            )
        if self.shards.is_forward and self.test_mode:
            raise ConfigError(
                f'{self.ann_file}: shards that a command prints are for training only, as testing keeps the order of '
                'the manifest: give a folder or an address'
            )

    def _read_manifest(self, names: Names) -> Manifest:
        return read_manifest(self.ann_file, names, multi_label=self.multi_label, labelled=self.labelled)

    def _names(self, classes: str | Sequence[str]) -> tuple[str, ...]:
        return read_classes(os.path.join(self.data_root, classes)) if isinstance(classes, str) else tuple(classes)

    def _row(self, index: int) -> int:
        """The row of the manifest, counted from 0, that a clip is."""
        if self._chosen is not None:
            return int(self._chosen.values[index])
        return int(index) + self._number if index < 0 else int(index)

    def _which(self) -> str:
        """Which rows the clips are, for the name of a cache."""
        return 'all' if self._chosen is None else hashlib.sha256(self.rows.astype('<i8').tobytes()).hexdigest()

    def _select(self, indices: int | Sequence[int] | None) -> SharedArray | None:
        number = len(self.manifest)
        if indices is None:
            return None
        if isinstance(indices, int):
            indices = range(min(indices, number))
        if not len(indices):
            raise ValueError(f'indices leave none of the {number} rows of {self.ann_file}')
        outside = [i for i in indices if not 0 <= i < number]
        if outside:
            raise ValueError(f'indices {outside[:5]} lie outside the {number} rows of {self.ann_file}')
        return SharedArray(np.arange(number)[list(indices)])

    def _build_cache(self, place: str, pipeline: Sequence[Any]) -> ClipCache | PreparedCache:
        steps, number, name = self.pipeline.transforms, len(self), self.ann_file
        if not is_prepared(place):
            return ClipCache(place, find_loader(steps, place), self.get_data_info, number=number, name=name)
        return PreparedCache(
            place,
            steps,
            pipeline,
            clip_of=self.get_data_info,
            number=number,
            name=name,
            dropouts=() if self.test_mode else tuple(self.modality_dropout),
            about=(self._which(), self.modalities, self.drop),
        )

    def _read(self, index: int, results: dict[str, Any]) -> Any:
        with self.reading(index):
            if isinstance(self._cache, PreparedCache):
                item = self._cache(index, results)
            else:
                if self._cache is not None:
                    results['reader'] = self._cache.reader(index, results)
                item = self.pipeline(results)
        # LoadClip has added to the pipeline's input.
        if damaged := results.get('damaged', 0):
            what = f'{results["path"]}: {damaged} packets cannot be decoded'
            self._mark(index, DAMAGED, f'damaged clip, the readable part is used: {what}')
        else:
            states = self.states.numpy()  # whose single values are read faster
            if states[index] != DAMAGED:
                states[index] = WHOLE
        if self._cache is not None and self._cache.has_to_report():
            self._cache.report(self.states == BROKEN)
        return item

    def _mark(self, index: int, state: int, message: str) -> None:
        """Records what is wrong with a clip, and logs it the first time."""
        if self.states[index] != state:
            print_log(f'{message} ({self.place_of(index)})', 'current', level=logging.WARNING)
        self.states[index] = state

    def place_of(self, index: int) -> str:
        """The place of a clip in the manifest."""
        return f'{self.ann_file}, row {self.manifest[self._row(index)].line}'


def _check_modalities(
    modalities: Sequence[str], dropout: Mapping[str, float], drop: Sequence[str], *, known: Sequence[str]
) -> None:
    if not modalities:
        raise ValueError(f'modalities is empty; name one or both of {", ".join(known)}')
    for choice, names in ((known, modalities), (tuple(modalities), (*dropout, *drop))):
        for modality in names:
            if modality not in choice:
                raise ValueError(
                    f'modality {modality!r} is unknown: choose from {", ".join(choice)}{did_you_mean(modality, choice)}'
                )
    if set(modalities) <= set(drop):
        raise ValueError(f'drop={list(drop)} leaves none of modalities={list(modalities)}')
    if any(share < 0 for share in dropout.values()) or sum(dropout.values()) > 1:
        raise ValueError(f'modality_dropout={dict(dropout)}: shares must not be negative and add up to at most 1')
