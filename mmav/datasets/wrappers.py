"""MMEngine's dataset wrappers for our datasets: each around each other, with augmentation of its own for each draw."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import ClassBalancedDataset as MMEngineClassBalancedDataset
from mmengine.dataset import ConcatDataset as MMEngineConcatDataset
from mmengine.dataset import RepeatDataset as MMEngineRepeatDataset

from mmav.class_names import Names, by_part
from mmav.datasets.av_dataset import AVDataset, Draw
from mmav.datasets.class_counts import categories_of, clips_within
from mmav.datasets.shared_array import SharedArray, compact
from mmav.errors import ConfigError
from mmav.joined_classes import UNION, Places, join, read_whole
from mmav.registry import DATASETS
from mmav.structures import as_given, as_parts


class _Wrapper:
    """What all wrappers give: items, rows and labels of the clips inside, each by its own index.

    An index that knows its epoch and repeat (:class:`~mmav.datasets.av_dataset.Draw`) passes them on.
    """

    _metainfo: dict[str, Any]
    _fully_initialized: bool

    def _inside(self, index: int) -> tuple[Any, Draw]:
        """The dataset that an index leads to, and the index into it."""
        raise NotImplementedError

    def _wrapped(self) -> Sequence[Any]:
        """The datasets inside."""
        raise NotImplementedError

    def _within(self, index: int) -> tuple[Any, Draw]:
        self.full_init()  # type: ignore[attr-defined]
        number = len(self)  # type: ignore[arg-type]
        if not -number <= index < number:
            raise IndexError(f'clip {int(index)} of {number}')
        return self._inside(index if index >= 0 else Draw.inside(index, index + number))

    def __getitem__(self, idx: int) -> Any:
        dataset, index = self._within(idx)
        return dataset[index]

    def fetch(self, indices: Iterable[int]) -> None:
        """Begins to read the bytes of clips that will be read next, see :meth:`mmav.datasets.AVDataset.fetch`."""
        within: dict[int, tuple[Any, list[Draw]]] = {}
        for dataset, index in map(self._within, indices):
            within.setdefault(id(dataset), (dataset, []))[1].append(index)
        for dataset, found in within.values():
            if hasattr(dataset, 'fetch'):
                dataset.fetch(found)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The clips of a batch, as a DataLoader asks for them."""
        self.fetch(indices)
        return [self[index] for index in indices]

    def get_data_info(self, idx: int) -> Any:
        """The row of a clip, see :meth:`mmav.datasets.AVDataset.get_data_info`."""
        dataset, index = self._within(idx)
        return dataset.get_data_info(index)

    def get_cat_ids(self, idx: int) -> list[Any]:
        """The classes of a clip, see :meth:`mmav.datasets.AVDataset.get_cat_ids`."""
        dataset, index = self._within(idx)
        return dataset.get_cat_ids(index)

    def describe(self, idx: int) -> str:
        """Path of a clip and its place in the manifest."""
        dataset, index = self._within(idx)
        return dataset.describe(index)

    @property
    def num_classes(self) -> int | dict[str, int]:
        """Length of the class list, or of each of them."""
        return as_given({part: len(names) for part, names in as_parts(self._metainfo['classes']).items()})

    @property
    def multi_label(self) -> bool | None:
        """Whether a clip may have several labels; None where the datasets inside do not say."""
        return getattr(self._wrapped()[0], 'multi_label', None)

    @property
    def num_rows(self) -> int:
        """How many rows the manifests inside have."""
        return sum(_rows(dataset) for dataset in self._wrapped())


def _rows(dataset: Any) -> int:
    return dataset.num_rows if isinstance(dataset, _Wrapper) else len(getattr(dataset, 'manifest', dataset))


def _build(dataset: Any, who: str) -> Any:
    if isinstance(dataset, Mapping):
        return DATASETS.build(dict(dataset))
    if not (hasattr(dataset, '__getitem__') and hasattr(dataset, '__len__')) or isinstance(dataset, (str, list, tuple)):
        raise ConfigError(f'{who}: {dataset!r} is no dataset: give a dict with its type, such as AVDataset')
    return dataset


def _initialize(dataset: Any) -> None:
    # datasets that are not MMEngine's have nothing to do
    if hasattr(dataset, 'full_init'):
        dataset.full_init()


class _Around(_Wrapper):
    """A wrapper around one dataset."""

    dataset: Any

    def _begin(self, dataset: Any, *, lazy_init: bool) -> None:
        self.dataset = _build(dataset, type(self).__name__)
        self._metainfo = getattr(self.dataset, 'metainfo', {})
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()  # type: ignore[attr-defined]

    def _wrapped(self) -> Sequence[Any]:
        return [self.dataset]

    def as_member(self, first_row: int, names: Names, places: Places) -> _Wrapper:
        """As :meth:`mmav.datasets.AVDataset.as_member`."""
        member = copy.copy(self)
        member.dataset = self.dataset.as_member(first_row, names, places)
        member._metainfo = member.dataset.metainfo
        return member


@DATASETS.register_module()
class RepeatDataset(_Around, MMEngineRepeatDataset):
    """MMEngine's wrapper of this name, which repeats a dataset several times per epoch.

    Augmentation depends on (seed, epoch, clip): with MMEngine's wrapper a clip would look the same each time within an
    epoch. Here every repetition is augmented differently.

    Args:
        dataset: A dataset, or its config.
        times: Repetitions per epoch.
        lazy_init: As in MMEngine: whether :meth:`full_init` waits for the first use.

    Raises:
        ConfigError: ``times`` is not a whole number above 0.
    """

    def __init__(self, dataset: Any, times: int, lazy_init: bool = False) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ConfigError(f'RepeatDataset: times={times!r} must be a whole number above 0')
        self.times = times
        self._begin(dataset, lazy_init=lazy_init)

    def full_init(self) -> None:
        """Finds out the length."""
        if not self._fully_initialized:
            _initialize(self.dataset)
            self._ori_len, self._fully_initialized = len(self.dataset), True

    def _inside(self, index: int) -> tuple[Any, Draw]:
        repeat, within = divmod(int(index), self._ori_len)
        return self.dataset, Draw.inside(index, within, repeat=repeat, times=self.times)

    def clips_within(self) -> list[tuple[Any, np.ndarray]]:
        """See :func:`mmav.datasets.class_counts.clips_within`."""
        return clips_within(self.dataset) * self.times


@DATASETS.register_module()
class ClassBalancedDataset(_Around, MMEngineClassBalancedDataset):
    """MMEngine's wrapper of this name, which repeats clips of rare classes, each time with another augmentation.

    A clip comes ceil(max(1, sqrt(threshold / share))) times, with the share of the clips that have the rarest of its
    classes (Gupta et al. 2019, "LVIS", section 4.3).

    Args:
        dataset: A dataset, or its config.
        oversample_thr: Classes with a smaller share of the clips than this are repeated.
        lazy_init: As in MMEngine: whether :meth:`full_init` waits for the first use.

    Raises:
        ConfigError: ``oversample_thr`` is not above 0, no class is rarer, or the dataset does not know its classes.
    """

    def __init__(self, dataset: Any, oversample_thr: float, lazy_init: bool = False) -> None:
        if not oversample_thr > 0:
            raise ConfigError(f'ClassBalancedDataset: oversample_thr={oversample_thr!r} must be a share above 0')
        self.oversample_thr = oversample_thr
        self._begin(dataset, lazy_init=lazy_init)

    def full_init(self) -> None:
        """Counts the classes."""
        if self._fully_initialized:
            return
        _initialize(self.dataset)
        if not hasattr(self.dataset, 'get_cat_ids'):
            raise ConfigError(
                f'ClassBalancedDataset: a {type(self.dataset).__name__} does not know the classes of its clips '
                '(get_cat_ids): give an AVDataset, or a wrapper of some'
            )
        factors = _repeat_factors(self.dataset, self.oversample_thr)
        if factors is None:
            factors = np.array(self._get_repeat_factors(self.dataset, self.oversample_thr))
        times = np.ceil(factors).astype(np.int64)
        self._repeated = SharedArray(compact(np.repeat(np.arange(len(times)), times)))
        self._fully_initialized = True
        self._most = int(times.max(initial=1))
        if self._most == 1:
            raise ConfigError(
                f'ClassBalancedDataset has no effect: no class is in a smaller share of the clips than '
                f'oversample_thr={self.oversample_thr:g}; raise it, or leave the wrapper out'
            )

    def _inside(self, index: int) -> tuple[Any, Draw]:
        within = int(self.repeat_indices[int(index)])
        # repeats stand together, in the order of clips
        repeat = int(index) - int(np.searchsorted(self.repeat_indices, within))
        return self.dataset, Draw.inside(index, within, repeat=repeat, times=self._most)

    @property
    def repeat_indices(self) -> np.ndarray:
        """The clip that each index stands for."""
        return self._repeated.values

    def clips_within(self) -> list[tuple[Any, np.ndarray]]:
        """See :func:`mmav.datasets.class_counts.clips_within`."""
        self.full_init()
        repeated = self.repeat_indices
        pieces, begin = [], 0
        for leaf, clips in clips_within(self.dataset):
            first, last = np.searchsorted(repeated, [begin, begin + len(clips)])
            pieces.append((leaf, clips[repeated[first:last] - begin]))
            begin += len(clips)
        return pieces


def _repeat_factors(dataset: Any, threshold: float) -> np.ndarray | None:
    """What MMEngine computes clip by clip (N,); None where a dataset has categories of its own."""
    leaves = _leaves(dataset)
    if not leaves or not all(
        getattr(type(leaf), 'get_cat_ids', None) is AVDataset.get_cat_ids and leaf.labelled for leaf in leaves
    ):
        return None
    categories, ends = categories_of(dataset)
    shares = np.bincount(categories) / len(ends)
    with np.errstate(divide='ignore'):
        of_category = np.maximum(1.0, np.sqrt(threshold / shares))
    factors = np.ones(len(ends))
    np.maximum.at(factors, np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)), of_category[categories])
    return factors


@DATASETS.register_module()
class ConcatDataset(_Wrapper, MMEngineConcatDataset):
    """MMEngine's wrapper of this name, which joins datasets: first the clips of one, then those of the next.

    Class lists must be the same, unless ``classes`` gives the list of the whole: then classes are found in it by name,
    and labels get its indices. ``sample_idx`` counts the rows of all manifests, one after the other, so that clips of
    equal place in two of them are told apart and augmented differently.

    Args:
        datasets: Datasets, or their configs.
        lazy_init: As in MMEngine: whether :meth:`full_init` waits for the first use.
        ignore_keys: Entries of ``metainfo`` that may differ; the first dataset's is used.
        classes: Class list of the whole, a file or names, or a dict of them by part of the label; or ``'union'``: all
            names of all lists, in the order in which they come first.
        class_map: Name in a list -> name in the whole, for classes that have another name there; a list with one such
            dict, or None, for each dataset, or one for all. By part of the label where it has several.
        data_root: Folder that the file of ``classes`` is relative to.

    Raises:
        ConfigError: Class lists differ without ``classes``, a class is not in the whole, or the datasets differ in what
            they read.
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        lazy_init: bool = False,
        ignore_keys: str | Sequence[str] | None = None,
        *,
        classes: str | Sequence[str] | Mapping[str, Any] | None = None,
        class_map: Sequence[Mapping[str, Any] | None] | Mapping[str, Any] | None = None,
        data_root: str = '',
    ) -> None:
        if isinstance(datasets, Mapping) or not len(datasets):
            raise ConfigError('ConcatDataset: datasets must be a list of one or more datasets')
        self.ignore_keys = [ignore_keys] if isinstance(ignore_keys, str) else list(ignore_keys or ())
        if 'classes' in self.ignore_keys:
            raise ConfigError(
                "ConcatDataset: ignore_keys='classes' would take a class of one list for that of the same index in "
                f'another: give the list of the whole as classes, or classes={UNION!r}'
            )
        self.datasets = [_build(dataset, 'ConcatDataset') for dataset in datasets]
        _check_alike([leaf for dataset in self.datasets for leaf in _leaves(dataset)])
        self._join(classes, class_map, data_root)
        self._metainfo = dict(getattr(self.datasets[0], 'metainfo', {}))
        _check_metainfo(self.datasets, self._metainfo, self.ignore_keys)
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def _join(self, classes: Any, class_map: Any, data_root: str) -> None:
        """Gives all datasets the same classes, and rows of their own."""
        lists = [by_part(getattr(dataset, 'metainfo', {}).get('classes')) for dataset in self.datasets]
        known = [names for names in lists if names is not None]
        if len(known) < len(lists) or not all(hasattr(dataset, 'as_member') for dataset in self.datasets):
            if classes is not None or class_map is not None:
                raise ConfigError('ConcatDataset: classes and class_map are for AVDatasets and wrappers of them')
            return
        names, places = join(known, self._who(), classes=read_whole(classes, data_root), class_map=class_map)
        first, members = 0, []
        for dataset, of_dataset in zip(self.datasets, places, strict=True):
            members.append(dataset.as_member(first, names, of_dataset))
            first += _rows(dataset)
        self.datasets = members

    def _who(self) -> list[str]:
        """What to call each dataset in messages."""
        files = [' and '.join(dict.fromkeys(str(leaf.ann_file) for leaf in _leaves(each))) for each in self.datasets]
        return files if len(set(files)) == len(files) else [f'{file} ({k})' for k, file in enumerate(files)]

    def as_member(self, first_row: int, names: Names, places: Places) -> _Wrapper:
        """As :meth:`mmav.datasets.AVDataset.as_member`."""
        member = copy.copy(self)
        member.datasets = [dataset.as_member(first_row, names, places) for dataset in self.datasets]
        member._metainfo = {**self._metainfo, 'classes': as_given(names)}
        return member

    def full_init(self) -> None:
        """Finds out the lengths."""
        if not self._fully_initialized:
            for dataset in self.datasets:
                _initialize(dataset)
            self.cumulative_sizes = np.cumsum([len(dataset) for dataset in self.datasets]).tolist()
            self._fully_initialized = True

    def _wrapped(self) -> Sequence[Any]:
        return self.datasets

    def _inside(self, index: int) -> tuple[Any, Draw]:
        member, within = self._get_ori_dataset_idx(int(index))
        return self.datasets[member], Draw.inside(index, within)

    def clips_within(self) -> list[tuple[Any, np.ndarray]]:
        """See :func:`mmav.datasets.class_counts.clips_within`."""
        return [piece for dataset in self.datasets for piece in clips_within(dataset)]


def _leaves(dataset: Any) -> list[Any]:
    """The datasets inside all wrappers that have a manifest."""
    if isinstance(dataset, _Wrapper):
        return [leaf for inner in dataset._wrapped() for leaf in _leaves(inner)]
    return [dataset] if hasattr(dataset, 'ann_file') else []


def _check_alike(leaves: Sequence[Any]) -> None:
    """Refuses datasets whose clips cannot be in one batch."""
    for leaf in leaves[1:]:
        for name, what in (
            ('modalities', 'reads {0}'),
            ('multi_label', 'has multi_label={0}'),
            ('labelled', 'has labelled={0}'),
            ('test_mode', 'has test_mode={0}'),
            ('reads_files', 'reads files: {0}'),
        ):
            one, other = (getattr(each, name, None) for each in (leaves[0], leaf))
            same = set(one) == set(other) if name == 'modalities' and one and other else one == other
            if not same:
                told = [' and '.join(each) if isinstance(each, tuple) else each for each in (one, other)]
                raise ConfigError(
                    f'ConcatDataset: {leaves[0].ann_file} {what.format(told[0])}, {leaf.ann_file} '
                    f'{what.format(told[1])}: give all the same {name}'
                )


def _check_metainfo(datasets: Sequence[Any], first: Mapping[str, Any], ignored: Sequence[str]) -> None:
    for dataset in datasets[1:]:
        other = getattr(dataset, 'metainfo', {})
        for key in dict.fromkeys((*first, *other)):
            if key not in ignored and first.get(key) != other.get(key):
                raise ConfigError(
                    f'ConcatDataset: the metainfo of its datasets differs in {key!r}: make it the same, or name it in '
                    'ignore_keys'
                )
