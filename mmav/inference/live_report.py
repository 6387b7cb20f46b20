"""What a live source's windows say, as lines for a terminal, and what they were together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmav.class_names import label_set
from mmav.inference.report import NO_LABEL

SHOWN = 3  # labels in a line


def line_of(result: Mapping[str, Any]) -> str:
    """A window's result, see :func:`mmav.inference.live.stream`, in a line; a gap before it has one of its own.

    >>> window = dict(start=0.0, end=2.0, predictions=[dict(label='dog', score=0.9)], latency=0.031, behind=0.0)
    >>> rest = dict(late=[], missing=['audio'], skipped_windows=2, dropped_frames=0, gap=None, error=None)
    >>> line_of({**window, **rest})
    '     2.0 s  dog 0.900  (31 ms, no audio, 2 windows skipped)'
    """
    if result['error'] is not None:
        said = f'error: {result["error"]}'
    else:
        shown = result.get('labels', result['predictions'])[:SHOWN]
        said = label_set(f'{each["label"]} {each["score"]:.3f}' for each in shown) or NO_LABEL
    notes = [f'{1000 * result["latency"]:.0f} ms']
    notes += [f'no {name}' for name in result['missing']]
    notes += [f'{name} incomplete' for name in result['late'] if name not in result['missing']]
    for name, what in (('skipped_windows', 'windows skipped'), ('dropped_frames', 'frames dropped')):
        notes += [f'{result[name]} {what}'] if result[name] else []
    line = f'{result["end"]:8.1f} s  {said}  ({", ".join(notes)})'
    gap = result['gap']
    if gap is None:
        return line
    return f'{gap["start"]:8.1f} s  nothing until {gap["end"]:.1f} s: {gap["reason"]}\n{line}'


class LiveSummary:
    """Counts the windows of a live source.

    Attributes:
        windows: How many were answered.
    """

    def __init__(self) -> None:
        self.windows = self._errors = self._skipped = self._dropped = 0
        self._gaps: list[float] = []
        self._latencies: list[float] = []

    def add(self, result: Mapping[str, Any]) -> None:
        """Counts a window."""
        self.windows += 1
        self._errors += result['error'] is not None
        self._skipped += result['skipped_windows']
        self._dropped += result['dropped_frames']
        self._latencies.append(result['latency'])
        if result['gap'] is not None:
            self._gaps.append(result['gap']['end'] - result['gap']['start'])

    def text(self) -> str:
        """A line.

        >>> LiveSummary().text()
        'no window was answered'
        """
        if not self.windows:
            return 'no window was answered'
        median, late = 1000 * np.percentile(self._latencies, [50, 95])
        parts = [f'{self.windows} windows', f'latency {median:.0f} ms (median), {late:.0f} ms (95 %)']
        parts += [f'{self._skipped} windows skipped', f'{self._dropped} frames dropped']
        if self._errors:
            parts.append(f'{self._errors} windows without an answer')
        if self._gaps:
            parts.append(f'{len(self._gaps)} gaps of {sum(self._gaps):.1f} s together')
        return ', '.join(parts)
