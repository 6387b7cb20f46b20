"""Reads the clips of an ablation once, into memory that all its runs share."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmav.config.edits import DATALOADERS, leaves_of, set_cache
from mmav.errors import ConfigError
from mmav.registry import DATASETS

# from the one that saves most
CACHES = ('ram',)
NONE = 'none'


class SharedClips:
    """The caches of all datasets of an ablation, held as long as its runs need them.

    Runs of one machine find each other's clips in memory by what they are made of: this object keeps them there when no
    run is under way, and prepares them once, before the first.
    """

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}

    def choose(self, cfg: Config, cache: str | None) -> str | None:
        """Which cache a config's runs have.

        Args:
            cfg: The config.
            cache: As of ``tools/train.py``; ``none`` for none, and None for the best that the config allows.

        Raises:
            ConfigError: It does not allow the one that is given.
        """
        if cache == NONE:
            return None
        if cache is not None:
            self._hold(cfg, cache)
            return cache
        for each in CACHES:
            try:
                self._hold(cfg, each)
            except ConfigError:
                continue
            return each
        return None

    def fill(self) -> None:
        """Prepares what is not there yet, with a progress bar."""
        for dataset in self._held.values():
            prepared = getattr(dataset, 'prepared', None)
            if prepared is not None:
                prepared.fill()

    def _hold(self, cfg: Config, cache: str) -> None:
        cfg = copy.deepcopy(cfg)
        set_cache(cfg, cache)
        new: dict[str, Any] = {}
        for key, dataset in _datasets(cfg):
            if key not in self._held and key not in new:
                new[key] = DATASETS.build(dataset)
        self._held.update(new)


def _datasets(cfg: Mapping[str, Any], loaders: Sequence[str] = DATALOADERS) -> Iterator[tuple[str, dict[str, Any]]]:
    for loader in loaders:
        for dataset in leaves_of((cfg.get(loader) or {}).get('dataset')):
            if dataset.get('type') == 'AVDataset':
                yield json.dumps(dataset, sort_keys=True, default=repr), dataset
