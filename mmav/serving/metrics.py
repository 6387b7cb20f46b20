"""Counters, gauges and histograms in Prometheus's text format, version 0.0.4."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Counter:
    """A number that grows.

    Args:
        name: Its name, which ends with ``_total``.
        text: What it counts.
        labels: Names of its labels.
    """

    kind = 'counter'

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1.0, **labels: object) -> None:
        """Adds to it."""
        key = _key(self.labels, labels)
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def value(self, **labels: object) -> float:
        """What it stands at."""
        return self._values.get(_key(self.labels, labels), 0.0)

    def lines(self) -> list[str]:
        """Its samples."""
        with self._lock:
            values = sorted(self._values.items())
        return [f'{self.name}{_braces(self.labels, key)} {_number(value)}' for key, value in values]


class Gauge:
    """A number that is looked up when it is asked for.

    Args:
        name: Its name.
        text: What it is.
        read: Gives it.
    """

    kind = 'gauge'

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self.name, self.text, self._read = name, text, read

    def lines(self) -> list[str]:
        """Its sample."""
        return [f'{self.name} {_number(self._read())}']


class Histogram:
    """How many of the values seen are at most as large as each of some bounds.

    Args:
        name: Its name.
        text: What it measures.
        bounds: The bounds, ascending.
        labels: Names of its labels.
    """

    kind = 'histogram'

    def __init__(self, name: str, text: str, bounds: Sequence[float] = SECONDS, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.bounds = (*bounds, math.inf)
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def see(self, value: float, **labels: object) -> None:
        """Adds a value."""
        key = _key(self.labels, labels)
        with self._lock:
            self._counts.setdefault(key, [0] * len(self.bounds))[bisect_left(self.bounds, value)] += 1
            self._sums[key] = self._sums.get(key, 0.0) + value

    def mean(self, **labels: object) -> float:
        """Mean of the values seen; 0 if there were none."""
        key = _key(self.labels, labels)
        count = sum(self._counts.get(key, ()))
        return self._sums[key] / count if count else 0.0

    def lines(self) -> list[str]:
        """Its samples."""
        with self._lock:
            counts = sorted((key, list(each)) for key, each in self._counts.items())
            sums = dict(self._sums)
        found = []
        for key, each in counts:
            total = 0
            for bound, count in zip(self.bounds, each, strict=True):
                total += count
                found.append(f'{self.name}_bucket{_braces((*self.labels, "le"), (*key, _number(bound)))} {total}')
            found.append(f'{self.name}_sum{_braces(self.labels, key)} {_number(sums[key])}')
            found.append(f'{self.name}_count{_braces(self.labels, key)} {total}')
        return found


def exposition(metrics: Sequence[Counter | Gauge | Histogram]) -> str:
    """All of them as a page that Prometheus reads.

    >>> print(exposition([Gauge('answer', 'The answer', lambda: 42)]), end='')
    # HELP answer The answer
    # TYPE answer gauge
    answer 42
    """
    lines = []
    for metric in metrics:
        text = metric.text.replace('\\', r'\\').replace('\n', r'\n')
        lines += [f'# HELP {metric.name} {text}', f'# TYPE {metric.name} {metric.kind}', *metric.lines()]
    return '\n'.join([*lines, ''])


def _key(names: Sequence[str], labels: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(labels[name]) for name in names)


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    escaped = [value.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n') for value in values]
    pairs = ','.join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True))
    return f'{{{pairs}}}' if pairs else ''


def _number(value: float) -> str:
    if math.isinf(value):
        return '+Inf' if value > 0 else '-Inf'
    return str(int(value)) if value == int(value) else repr(float(value))
