"""The names of the classes that a trained model tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmav.class_names import Names, in_config, read_names, trained_with


def find_classes(given: Any, meta: Mapping[str, Any], dataset: Mapping[str, Any]) -> Names | None:
    """Finds the names of the classes.

    Args:
        given: What the user gives: names, a file with one a line, part of the label -> one of these; or None.
        meta: What a checkpoint says of itself; training notes the names that it had.
        dataset: The config's data set; its list counts where neither of the others does, and may be missing.

    Returns:
        Part of the label -> names, or None.

    Raises:
        ManifestError: A file that the user gives is missing or wrong.
    """
    if given is not None:
        return read_names(given)
    noted = trained_with(dict(meta=meta))
    return in_config({'classes': 'classes.txt', **dataset}) if noted is None else noted
