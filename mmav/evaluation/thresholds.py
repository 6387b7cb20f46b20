"""Thresholds of probabilities: found on a validation list, kept in a JSON file, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.class_names import shown
from mmav.errors import MmavError, did_you_mean
from mmav.evaluation.class_scores import Answers, best_threshold, best_thresholds

_FORM = '{"threshold": 0.5} or {"classes": {"dog": 0.3, ...}}'


@dataclass(frozen=True)
class Thresholds:
    """From which probability on a class is predicted for a clip.

    Attributes:
        name: Where they come from, for messages.
        value: One for all classes, or class name -> one.
    """

    name: str
    value: float | Mapping[str, float]

    def of(self, classes: Sequence[str] | None) -> float | np.ndarray:
        """The one for all, or one for each class (C,), in the order of the names.

        Args:
            classes: Names of the classes, if they are known.

        Raises:
            MmavError: They are by name, and the names are unknown or others.
        """
        if not isinstance(self.value, Mapping):
            return self.value
        if not classes:
            raise MmavError(f'{self.name} has thresholds by name, but the classes have none: give one number for all')
        missing = [name for name in classes if name not in self.value]
        strange = [name for name in self.value if name not in set(classes)]
        if missing or strange:
            told = f'it has none of {shown(missing)}' if missing else f'there is no class {shown(strange)}'
            hint = did_you_mean(strange[0], classes) if strange and not missing else ''
            raise MmavError(f'{self.name} has thresholds of other classes: {told}{hint}')
        return np.array([self.value[name] for name in classes], dtype=np.float64)


def read_thresholds(given: float | str | Path | Mapping[str, float]) -> Thresholds:
    """Reads a number, or a JSON file such as ``{"threshold": 0.5}`` or ``{"classes": {"dog": 0.3, "cat": 0.6}}``.

    Args:
        given: The number, the file, or class name -> number.

    Raises:
        MmavError: It is neither, or a threshold is not from 0 to 1.

    >>> read_thresholds('0.3').of(None)
    0.3
    """
    if isinstance(given, Mapping):
        return Thresholds('thresholds', _each('thresholds', given))
    if not isinstance(given, (str, Path)):
        return Thresholds('threshold', _checked(given, 'threshold'))
    try:
        return Thresholds(f'the threshold {given}', _checked(float(str(given)), 'threshold'))
    except ValueError:
        pass  # no number, so a file
    try:
        content = json.loads(Path(given).expanduser().read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise MmavError(
            f"no file '{given}': give a number from 0 to 1, or write a file with mmav thresholds"
        ) from error
    except (OSError, ValueError) as error:
        raise MmavError(f"'{given}' cannot be read as thresholds, {_FORM}: {error}") from error
    if isinstance(content, dict) and content.keys() == {'threshold'}:
        return Thresholds(f"'{given}'", _checked(content['threshold'], f"'{given}'"))
    if isinstance(content, dict) and content.keys() == {'classes'} and isinstance(content['classes'], dict):
        return Thresholds(f"'{given}'", _each(f"'{given}'", content['classes']))
    raise MmavError(f"'{given}' is no file of thresholds: write {_FORM}, or use mmav thresholds")


def _each(name: str, given: Mapping[str, Any]) -> dict[str, float]:
    return {label: _checked(value, f'{name}: {label}') for label, value in given.items()}


def _checked(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise MmavError(f'{name}: {value!r} is no threshold: give a number from 0 to 1')
    return float(value)


def find_thresholds(
    answers: Answers, classes: Sequence[str], *, per_class: bool = False, average: str = 'macro'
) -> tuple[dict[str, Any], list[str]]:
    """Finds the thresholds with the highest F1.

    Args:
        answers: The clips to find them on.
        classes: Names of the classes.
        per_class: Whether each class has one of its own.
        average: F1 that the one for all maximises, see :func:`mmav.evaluation.class_scores.best_threshold`.

    Returns:
        The content of a file, see :func:`read_thresholds`; and the classes without a clip, which have the threshold
        that is best for all.

    Raises:
        MmavError: No clip has a label.
    """
    common, _ = best_threshold(answers, average)
    if not per_class:
        return dict(threshold=common), []
    found, _ = best_thresholds(answers)
    without = np.isnan(found)
    found[without] = common
    return dict(classes=dict(zip(classes, found.tolist(), strict=True))), [
        classes[index] for index in np.flatnonzero(without).tolist()
    ]
