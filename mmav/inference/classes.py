"""The names of the classes that a trained model tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmav.class_names import in_config, read_names, trained_with
from mmav.engine.class_lists import as_given

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
        return read_names(given)
    noted = trained_with(dict(meta=meta))
    return in_config({'classes': 'classes.txt', **dataset}) if noted is None else as_given(noted)
