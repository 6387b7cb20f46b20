"""The names of the classes that a trained model tells apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmav.datasets import read_classes

# of one label, or of a verb and a noun each
Classes = Sequence[str] | Mapping[str, Sequence[str]] | None


def find_classes(given: Any, meta: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:
    """Finds the names of the classes.

    Args:
        given: What the user gives: names, a file with one a line, of a verb and a noun a dict of both; or None.
        meta: What a checkpoint says of itself; training notes the names that it had.
        dataset: The config's data set; its list counts where neither of the others does, and may be missing.

    Returns:
        A tuple of names, of a verb and a noun a dict of two, or None.

    Raises:
        ManifestError: A file that the user gives is missing or wrong.
    """
    if given is not None:
        return _names(given, '')
    trained_with = (meta.get('dataset_meta') or {}).get('classes')
    if trained_with:
        return _names(trained_with, '')
    root = os.path.expanduser(dataset.get('data_root') or '')
    named = dataset.get('classes', 'classes.txt')
    files = [named] if isinstance(named, str) else [name for name in _values(named) if isinstance(name, str)]
    listed = isinstance(named, str) or (isinstance(named, Mapping) and files)
    if listed and not all(os.path.isfile(os.path.join(root, name)) for name in files):
        return None
    return _names(named, root)


def _values(named: Any) -> list[Any]:
    return list(named.values()) if isinstance(named, Mapping) else list(named)


def _names(classes: Any, root: str) -> Any:
    if isinstance(classes, Mapping):
        return {part: _names(each, root) for part, each in classes.items()}
    return read_classes(os.path.join(root, classes)) if isinstance(classes, str) else tuple(map(str, classes))
