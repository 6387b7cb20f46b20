"""A short digest of what each experiment resolves to.

After a deliberate change, ``python -m tests.configs.digests`` writes digests.txt anew, and its diff names the configs.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmav.config.reading import load_config

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name('digests.txt')
CONFIGS = sorted([*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'projects').glob('*/configs/**/*.py')])
EXPERIMENTS = [path for path in CONFIGS if '_base_' not in path.parts]


def config_of(path: Path) -> Config:
    """A config as the tools read it, to be changed at will."""
    return copy.deepcopy(_load(path))


@functools.cache  # reading one takes 0.1 s
def _load(path: Path) -> Config:
    return load_config(str(path))


def digest(value: dict[str, Any]) -> str:
    """Tells tuples from lists and 1 from 1.0 and True; the order of keys, too, but of a part's keywords."""
    text = json.dumps({name: _canonical(item) for name, item in value.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        items = sorted(value.items()) if 'type' in value else value.items()
        return ['dict', *([key, _canonical(item)] for key, item in items)]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_canonical, value)]
    return [type(value).__name__, repr(value)]


def stored() -> dict[str, str]:
    """Path from the repository's root -> digest."""
    lines = (line.split() for line in FILE.read_text().splitlines())
    return {path: value for value, path in lines}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


if __name__ == '__main__':
    FILE.write_text(''.join(f'{digest(_load(path).to_dict())} {name(path)}\n' for path in EXPERIMENTS))
