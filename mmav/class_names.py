"""Class names of checkpoints, datasets and dumps, compared part by part.

``Names`` maps a part of the label to its names: 'label' where there is one, else such as 'verb' and 'noun'.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mmav.errors import ConfigError, ManifestError
from mmav.files import read_text
from mmav.structures import as_parts

Names = Mapping[str, tuple[str, ...]]
_SHOWN = 3
# first line of a class list that was copied from a table
_HEADERS = ('class', 'classes', 'classname', 'class_name', 'label', 'labels', 'label_name', 'category', 'display_name')


def read_classes(path: str) -> tuple[str, ...]:
    """Reads a class list: a text file, one name a line, in the order of the indices. Empty lines are skipped.

    Returns:
        The names.

    Raises:
        ManifestError: The file is missing, empty, not UTF-8 text, names a class twice, or has more than names in it.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(path, 'class list').split('\n'), start=1):
        name = line.strip()
        if name in lines:
            raise ManifestError(
                f'{path}: row {number}: class {name!r} stands already in row {lines[name]}; remove one of the two'
            )
        if name:
            lines[name] = number
    if not lines:
        raise ManifestError(f'{path}: the class list is empty; write one class name a line')
    _check_names(path, lines)
    return tuple(lines)


def _check_names(path: str, lines: Mapping[str, int]) -> None:
    """Refuses a class list that is a table: with a header, an index beside each name, or empty cells."""
    names = list(lines)
    if len(names) > 1 and re.split(r'[,;\t]', names[0].lower())[-1].strip().replace(' ', '_') in _HEADERS:
        raise ManifestError(
            f'{path}: row {lines[names[0]]}: {names[0]!r} looks like the header of a table; a class list has none: '
            'remove the line'
        )
    for name, line in lines.items():
        mark = next(
            (mark for mark in '\t;,' if mark in name and (mark == '\t' or name[0] == mark or name[-1] == mark)), ''
        )
        if mark:
            raise ManifestError(
                f'{path}: row {line}: {name!r} has a {mark!r} that parts cells; write one class name a line, and '
                'nothing else'
            )
    for pattern in (r'(?P<index>\d+)[\s,;:]+(?P<name>.*)', r'(?P<name>.*?)[\s,;:]+(?P<index>\d+)'):
        found = [match for name in names if (match := re.fullmatch(pattern, name, re.ASCII))]
        indices, rest = ({match[group] for match in found} for group in ('index', 'name'))
        # names such as 'speaker 1' and 'speaker 2' have the same rest
        if len(names) > 1 and len(indices) == len(rest) == len(names):
            raise ManifestError(
                f'{path}: row {lines[names[0]]}: {names[0]!r} is an index and a name, as is every row; write the names '
                'alone, in the order of the indices'
            )


def by_part(classes: Any) -> Names | None:
    """Class names in one form; None where there are none.

    Args:
        classes: A list of names, a dict of such lists, or anything else.

    >>> by_part(['cat', 'dog'])
    {'label': ('cat', 'dog')}
    >>> by_part('classes.txt') is None
    True
    """
    lists = {str(part): _listed(names) for part, names in as_parts(classes).items()}
    return {part: names for part, names in lists.items() if names} if lists and all(lists.values()) else None


def _listed(names: Any) -> tuple[str, ...] | None:
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) and names else None


def trained_with(checkpoint: Mapping[str, Any]) -> Names | None:
    """The names that training has stored in a checkpoint; None for a file without, such as public weights."""
    meta = checkpoint.get('meta')
    noted = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return by_part(noted.get('classes')) if isinstance(noted, Mapping) else None


def noted_in(path: str) -> Names | None:
    """The names in a checkpoint's file, without reading its weights; None also for an unreadable file."""
    try:
        checkpoint = torch.load(os.path.expanduser(path), map_location='meta', weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - loading the weights will tell what is wrong with the file
        return None
    return trained_with(checkpoint) if isinstance(checkpoint, Mapping) else None


def holders(dataset: Any, name: str) -> Iterator[Any]:
    """The outermost datasets with an attribute: a dataset, or else those that it wraps (``dataset``, ``datasets``)."""
    if getattr(dataset, name, None) is not None:
        yield dataset
        return
    inner = getattr(dataset, 'datasets', None)
    for part in inner if isinstance(inner, (list, tuple)) else [getattr(dataset, 'dataset', None)]:
        if part is not None:
            yield from holders(part, name)


def classes_of(dataset: Any, name: str) -> Names | None:
    """The names of a dataset, wrapped or not; None where it has none.

    Args:
        dataset: The dataset.
        name: Its name in messages.

    Raises:
        ConfigError: It joins several whose names or their order differ.
    """
    known = [by_part(part.metainfo.get('classes')) for part in holders(dataset, 'metainfo')]
    lists = [names for names in known if names is not None]
    for names in lists[1:]:
        check_joined(lists[0], names, name)
    return lists[0] if lists else None


def check_joined(first: Names, names: Names, name: str) -> None:
    """Fails where two joined datasets have different lists.

    Raises:
        ConfigError: With the first difference.
    """
    if names != first:
        told = tell_difference(first, names, ('the first', 'another'))
        raise ConfigError(
            f'{name} joins datasets with different class lists ({told}): give all the same list, or the ConcatDataset '
            "classes='union', or the list of the whole"
        )


def in_config(dataset: Mapping[str, Any], *, missing_ok: bool = True) -> Names | None:
    """The names in a dataset's config, or in the files that it points to.

    Args:
        dataset: Config of a dataset with ``classes``, or with a manifest and the default list.
        missing_ok: Whether a missing file means None.

    Returns:
        Part -> names, or None.

    Raises:
        ManifestError: A file is wrong, or missing.
    """
    classes = dataset.get('classes', 'classes.txt' if 'ann_file' in dataset else None)
    root = os.path.expanduser(dataset.get('data_root') or '')
    return by_part(read_names(classes, root, missing_ok=missing_ok))


def read_names(classes: Any, root: str = '', *, missing_ok: bool = False) -> Names | None:
    """Names as they are, or read from the file, relative to ``root``, that is given in their place; None of none."""
    names: dict[str, tuple[str, ...]] = {}
    for part, given in as_parts(classes).items():
        path = os.path.join(root, given) if isinstance(given, str) else None
        if given is None or (path is not None and missing_ok and not os.path.isfile(path)):
            return None
        names[part] = tuple(map(str, given)) if path is None else read_classes(path)
    return names


def reordered(one: Names, other: Names) -> bool:
    """Whether two lists hold the same names, each once, whatever their order."""
    return one.keys() == other.keys() and all(
        len(one[part]) == len(other[part]) == len(set(one[part])) and set(one[part]) == set(other[part]) for part in one
    )


def tell_difference(one: Names, other: Names, who: Sequence[str]) -> str:
    """Describes how two lists differ: numbers, the first names that only one has, or the first in another order.

    >>> tell_difference(dict(label=('cat', 'dog')), dict(label=('dog', 'cat')), ('A', 'B'))
    "class 0 is 'cat' in A and 'dog' in B"
    >>> tell_difference(dict(label=('cat', 'dog')), dict(label=('cat', 'fox', 'owl')), ('A', 'B'))
    "A has 2 classes, B 3; only A has 'dog'; only B has 'fox', 'owl'"
    """
    if one.keys() != other.keys():
        return f'{who[0]} names {" and ".join(one)}, {who[1]} {" and ".join(other)}'
    told = []
    for part in one:
        a, b, word = one[part], other[part], 'class' if part == 'label' else part
        if a == b:
            continue
        if len(a) != len(b):
            told.append(f'{who[0]} has {len(a)} {word}{"es" if word == "class" else "s"}, {who[1]} {len(b)}')
        own = [(name, [n for n in x if n not in set(y)]) for name, x, y in ((who[0], a, b), (who[1], b, a))]
        told += [f'only {name} has {shown(names)}' for name, names in own if names]
        if len(a) == len(b) and not any(names for _, names in own):
            place = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
            told.append(f'{word} {place} is {a[place]!r} in {who[0]} and {b[place]!r} in {who[1]}')
    return '; '.join(told)


def shown(names: Sequence[str]) -> str:
    """The first names, for a message.

    >>> shown(['a', 'b', 'c', 'd'])
    "'a', 'b', 'c', ..."
    """
    return ', '.join(map(repr, names[:_SHOWN])) + ', ...' * (len(names) > _SHOWN)


def label_set(names: Iterable[str]) -> str:
    """The labels of one clip, separated as in a manifest: names may hold commas.

    >>> label_set(['Dog, barking', 'speech'])
    'Dog, barking | speech'
    """
    return ' | '.join(names)


def places(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Where each wanted name stands among the known ones; None where it does not.

    >>> places(['dog', 'fox'], ['cat', 'dog'])
    [1, None]
    """
    index = {name: place for place, name in enumerate(known)}
    return [index.get(name) for name in wanted]
