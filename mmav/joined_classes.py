"""The class list of several datasets together, and which of its classes each class of theirs is."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmav.class_names import Names, in_config, read_names, tell_difference
from mmav.errors import ConfigError, did_you_mean

# as ``classes``: all names of all lists, in the order in which they come first
UNION = 'union'

# part of the label -> index in a list -> index in the list of the whole
Places = dict[str, list[int]]


def join(
    lists: Sequence[Names],
    who: Sequence[str],
    *,
    classes: Names | str | None = None,
    class_map: Sequence[Mapping[str, Any] | None] | Mapping[str, Any] | None = None,
) -> tuple[Names, list[Places]]:
    """Joins class lists by name.

    Args:
        lists: Part of the label -> names, of each dataset.
        who: What to call each in messages.
        classes: The list of the whole; or ``'union'``, all names in the order in which they come first. None if all
            lists are the same.
        class_map: Name in a list -> name in the whole, for names that differ; the others stay. One for all lists, or
            one for each, None for none. Where a label has parts, part -> such a map. Several names may become one.

    Returns:
        The list of the whole, and where in it the classes of each list are.

    Raises:
        ConfigError: Lists differ without ``classes``, a name is not in the whole, or an entry has no effect.

    >>> join([dict(label=('dog', 'cat')), dict(label=('cat', 'cow'))], 'AB', classes='union')
    ({'label': ('dog', 'cat', 'cow')}, [{'label': [0, 1]}, {'label': [1, 2]}])
    """
    parts = list(lists[0])
    for names, name in zip(lists, who, strict=True):
        if list(names) != parts:
            raise ConfigError(
                f'{who[0]} has labels of {" and ".join(parts)}, {name} of {" and ".join(names)}: datasets are joined '
                'where they have the same'
            )
    if classes is None and class_map is not None:
        raise ConfigError(f'class_map has no effect without classes: give the list of the whole, or classes={UNION!r}')
    if classes is None:
        return _all_the_same(lists, who)
    maps = _maps_of(class_map, parts, who)
    renamed = [
        {part: [table[part].get(name, name) for name in names[part]] for part in parts}
        for names, table in zip(lists, maps, strict=True)
    ]
    whole: Names
    if isinstance(classes, str):
        whole = {part: tuple(dict.fromkeys(name for names in renamed for name in names[part])) for part in parts}
    elif list(classes) != parts:
        raise ConfigError(f'classes are of {" and ".join(classes)}, the datasets have {" and ".join(parts)}')
    else:
        whole = classes
        twice = next((name for part in parts for name, number in Counter(whole[part]).items() if number > 1), None)
        if twice is not None:
            raise ConfigError(f'classes has {twice!r} more than once: take one out')
    _require_effect(maps, lists, shared=not isinstance(class_map, (list, tuple)))
    return whole, [
        {part: _places(names[part], new[part], whole[part], name) for part in parts}
        for names, new, name in zip(lists, renamed, who, strict=True)
    ]


def read_whole(classes: Any, root: str, *, missing_ok: bool = False) -> Names | str | None:
    """The list of the whole that a ConcatDataset gives: ``'union'`` or None as they are, names, or those of a file.

    Args:
        classes: As ConcatDataset's.
        root: Folder that files are relative to.
        missing_ok: Whether a missing file means None.

    Raises:
        ConfigError: There is no such file, and it is nearly ``'union'``.
        ManifestError: A file is wrong, or missing.
    """
    if classes in (None, UNION):
        return classes
    root = os.path.expanduser(root)
    if isinstance(classes, str) and not os.path.isfile(os.path.join(root, classes)):
        hint = did_you_mean(classes, [UNION])
        if hint:
            raise ConfigError(f'classes={classes!r} is no file{hint}')
    return read_names(classes, root, missing_ok=missing_ok)


def names_in_config(dataset: Mapping[str, Any], *, missing_ok: bool = True) -> Names | None:
    """The names of the classes of a dataset's config, wrapped or not: of datasets that are joined, those of the whole.

    Args:
        dataset: The config.
        missing_ok: Whether a missing file means None.

    Raises:
        ConfigError: Class lists cannot be joined, see :func:`join`.
        ManifestError: A file is wrong, or missing.
    """
    if isinstance(dataset.get('dataset'), Mapping):
        return names_in_config(dataset['dataset'], missing_ok=missing_ok)
    members = dataset.get('datasets')
    if not isinstance(members, (list, tuple)) or not all(isinstance(each, Mapping) for each in members):
        return in_config(dataset, missing_ok=missing_ok)
    classes = dataset.get('classes')
    whole = read_whole(classes, dataset.get('data_root') or '', missing_ok=missing_ok)
    if classes is not None and whole is None:
        return None
    lists = [names_in_config(each, missing_ok=missing_ok) for each in members]
    known = [names for names in lists if names is not None]
    if len(known) < len(lists) or not known:
        return whole if isinstance(whole, Mapping) else None
    who = [f'{each.get("ann_file") or each.get("type")} ({k})' for k, each in enumerate(members)]
    return join(known, who, classes=whole, class_map=dataset.get('class_map'))[0]


def _all_the_same(lists: Sequence[Names], who: Sequence[str]) -> tuple[Names, list[Places]]:
    for names, name in zip(lists[1:], who[1:], strict=True):
        if names != lists[0]:
            told = tell_difference(lists[0], names, (who[0], name))
            raise ConfigError(
                f'joined datasets have different class lists ({told}): give the list of the whole as classes, or '
                f'classes={UNION!r}, and names become one by class_map=dict(old=new)'
            )
    same = {part: list(range(len(names))) for part, names in lists[0].items()}
    return lists[0], [same for _ in lists]


def _maps_of(class_map: Any, parts: Sequence[str], who: Sequence[str]) -> list[dict[str, dict[str, str]]]:
    """Part -> old name -> new name, of each list."""
    each = list(class_map) if isinstance(class_map, (list, tuple)) else [class_map] * len(who)
    if len(each) != len(who):
        raise ConfigError(
            f'class_map has {len(each)} entries for {len(who)} datasets: give one for each, or one for all'
        )
    maps = []
    for given in each:
        if given is not None and not isinstance(given, Mapping):
            raise ConfigError(f'class_map={given!r}: give dict(old=new), or a list with one for each dataset')
        by_part = dict(label=given) if list(parts) == ['label'] else dict(given or {})
        for part in by_part:
            if part not in parts:
                raise ConfigError(
                    f'class_map has {part!r}, but the label has the parts {" and ".join(parts)}: give a map for each'
                    f'{did_you_mean(part, parts)}'
                )
        maps.append({part: {str(a): str(b) for a, b in (by_part.get(part) or {}).items()} for part in parts})
    return maps


def _require_effect(maps: Sequence[dict[str, dict[str, str]]], lists: Sequence[Names], *, shared: bool) -> None:
    """Refuses an entry whose old name is in no list that it is for."""
    groups = [lists] * len(maps) if shared else [[names] for names in lists]
    for table, group in zip(maps, groups, strict=True):
        for part, entries in table.items():
            known = [name for names in group for name in names[part]]
            for old in entries:
                if old not in known:
                    raise ConfigError(
                        f'class_map: no {"class" if part == "label" else part} is called {old!r}'
                        f'{did_you_mean(old, known) or ": take the entry out"}'
                    )


def _places(names: Sequence[str], renamed: Sequence[str], whole: Sequence[str], who: str) -> list[int]:
    index = {name: place for place, name in enumerate(whole)}
    for old, new in zip(names, renamed, strict=True):
        if new not in index:
            called = repr(old) if old == new else f'{old!r}, which class_map calls {new!r},'
            hint = did_you_mean(new, whole) or f': add it, or map it, class_map={{{old!r}: NAME}}'
            raise ConfigError(f'class {called} of {who} is not among the {len(whole)} classes of the whole{hint}')
    return [index[new] for new in renamed]
