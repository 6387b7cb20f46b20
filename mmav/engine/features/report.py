"""What the tools say of features: sizes, settings, and the clips that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmav.datasets.features.index import FeatureIndex

_NAMED = 5
_SHOWN = 40


def summary(index: FeatureIndex, folder: str | Path) -> str:
    """What was stored, for people: clips, those that lack something, and the broken ones."""
    split = index.made_by.get('split')
    lines = [f"{f'{split}: ' if split else ''}{len(index.paths):,} clips in '{folder}'"]
    for modality, places in index.absent.items():
        lacking = len(set(places) - set(index.broken))
        if lacking:
            lines.append(f'  {lacking:,} without {modality}')
    if index.broken:
        lines.append(f'  {len(index.broken):,} broken, without features:')
        named = list(index.broken.items())[:_NAMED]
        lines += [f'    {index.paths[place]}: {reason}' for place, reason in named]
        lines += ['    ...'] * (len(index.broken) > _NAMED)
    return '\n'.join(lines)


def in_bytes(number: float) -> str:
    """A size for people.

    >>> in_bytes(1536), in_bytes(2.5e9)
    ('1.5 KB', '2.33 GB')
    """
    for unit in ('B', 'KB', 'MB', 'GB'):
        if number < 1024:
            return f'{number:.3g} {unit}'
        number /= 1024
    return f'{number:.3g} TB'


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]} ...'
