"""Which classes the clips of a dataset, wrapped or not, have, and weights that make rare ones come more often."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mmav.errors import ConfigError, did_you_mean
from mmav.structures import as_parts

# AST's, in place of the frequency of a class without clips
AST_OFFSET = 0.01
# AST's scale of a class's weight; only ratios of weights matter to a sampler
_SCALE = 1000.0


class ClipLabels(NamedTuple):
    """Which classes each clip has: clip n those from ``ends[n - 1]`` to ``ends[n]`` of ``classes``.

    Attributes:
        classes: Class indices of the first clip, then of the second, and so on (M,).
        ends: Where those of each clip end (N,).
        names: Names of the C classes.
    """

    classes: np.ndarray
    ends: np.ndarray
    names: tuple[str, ...]

    @property
    def number(self) -> np.ndarray:
        """How many classes each clip has (N,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def counts(self) -> np.ndarray:
        """How many clips have each class (C,)."""
        return np.bincount(self.classes, minlength=len(self.names))

    def at(self, clips: np.ndarray) -> ClipLabels:
        """Those of other clips: some of these, in any order, each any number of times."""
        number = self.number[clips]
        ends = np.cumsum(number)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - number, number)
        starts = self.ends[clips] - number
        return self._replace(classes=self.classes[np.repeat(starts, number) + within], ends=ends)


def clips_within(dataset: Any) -> list[tuple[Any, np.ndarray]]:
    """The datasets with a manifest inside a dataset's wrappers, and which of their clips each index stands for.

    Returns:
        In the order of the indices: a dataset, and indices into it (N_k,); the dataset itself where it wraps none.

    Raises:
        ConfigError: It wraps no dataset with a manifest, or in a way that is not known.
    """
    if hasattr(dataset, 'clips_within'):
        return dataset.clips_within()
    if not hasattr(dataset, 'manifest'):
        raise ConfigError(
            f'the labels of a {type(dataset).__name__} are not known: give an AVDataset, or a ConcatDataset, '
            'RepeatDataset or ClassBalancedDataset of some'
        )
    return [(dataset, np.arange(len(dataset)))]


def labels_of(dataset: Any, part: str = 'label') -> ClipLabels:
    """The classes of each clip of a dataset, looked up in its manifests; no clip is read.

    Args:
        dataset: An AVDataset, or a wrapper of some.
        part: Part of the label, such as 'verb'.

    Raises:
        ConfigError: The dataset has no manifest, or no such part.
    """
    pieces = clips_within(dataset)
    known = {id(leaf): _of_manifest(leaf, part) for leaf, _ in pieces}
    parts = [known[id(leaf)].at(clips) for leaf, clips in pieces]
    ends = np.concatenate([[0], np.cumsum([len(each.classes) for each in parts])])
    return parts[0]._replace(
        classes=np.concatenate([each.classes for each in parts]),
        ends=np.concatenate([each.ends + before for each, before in zip(parts, ends, strict=False)]),
    )


def categories_of(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """What ``get_cat_ids`` gives of each clip, as numbers, each of a clip once.

    Returns:
        Those of the first clip, then of the second, and so on (M,), and where those of each clip end (N,).
    """
    parts = [labels_of(dataset, part) for part in as_parts(dataset.metainfo['classes'])]
    if not dataset.multi_label:
        # one label a clip: the combination of its parts
        sizes = [len(each.names) for each in parts]
        return np.ravel_multi_index([each.classes for each in parts], sizes), parts[0].ends
    first = np.cumsum([0, *(len(each.names) for each in parts)])
    clips = np.concatenate([np.repeat(np.arange(len(each.ends)), each.number) for each in parts])
    order = np.argsort(clips, kind='stable')
    categories = np.concatenate([each.classes + begin for each, begin in zip(parts, first, strict=False)])
    return categories[order], np.sum([each.ends for each in parts], axis=0)


def _of_manifest(dataset: Any, part: str) -> ClipLabels:
    lists = as_parts(dataset.metainfo['classes'])
    if part not in lists:
        hint = did_you_mean(part, lists) or f': choose {" or ".join(lists)}'
        raise ConfigError(f'{dataset.ann_file} has no label {part!r}{hint}')
    classes, ends = dataset.manifest.flat_labels(part)
    labels = ClipLabels(classes, ends, tuple(lists[part]))
    return labels.at(dataset.rows)


def clip_weights(
    labels: ClipLabels, *, offset: float = AST_OFFSET, power: float = 1.0, combine: str = 'sum'
) -> np.ndarray:
    """Weights of clips for drawing them so that rare classes come as often as common ones.

    A class weighs 1000 / (clips + offset) ** power, a clip what its classes weigh together (``sum``) or the weight of
    its heaviest class (``max``); a clip without a class weighs nothing.

    The defaults are AST's (YuanGongND/ast, egs/audioset/gen_weight_file.py); ``offset=100`` and the option ``max`` are
    of PaSST (kkoutini/PaSST, audioset/dataset.py). ``power=0.5`` draws classes in proportion to the root of their
    numbers ("square-root sampling", Kang et al. 2020, "Decoupling Representation and Classifier for Long-Tailed
    Recognition", eq. 1); 0 draws all clips alike where each has one class.

    Returns:
        (N,) float64.
    """
    per_class = _SCALE / (labels.counts + offset) ** power
    weights = np.zeros(len(labels.ends))
    clips = np.repeat(np.arange(len(weights)), labels.number)
    (np.add if combine == 'sum' else np.maximum).at(weights, clips, per_class[labels.classes])
    return weights
