"""Reads the clips of an ablation once, into memory that all its runs share."""

from __future__ import annotations

import copy
import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

import torch
from mmengine.config import Config
from tqdm import tqdm

from mmav.config.edits import DATALOADERS, leaves_of, set_cache
from mmav.datasets.cache_folder import PREPARED, RAM
from mmav.errors import ConfigError, one_line
from mmav.registry import DATASETS

# from the one that saves most
CACHES = (PREPARED, RAM)
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
        if not list(_datasets(cfg)):
            return None
        for each in CACHES:
            try:
                self._hold(cfg, each)
            except ConfigError as error:
                why = one_line(error)
                gc.collect()  # what was built counts as promised until it is gone
                continue
            return each
        print(f'clips are read anew by each run: {why}', file=sys.stderr, flush=True)
        return None

    def fill(self, jobs: int = 1) -> None:
        """Reads all clips once, so that no run has to, with a progress bar.

        Args:
            jobs: How many processes read.
        """
        context = multiprocessing.get_context('fork')
        done = context.Value('q', 0)
        datasets = list(self._held.values())
        total = sum(map(len, datasets))
        parts = [context.Process(target=_read, args=(datasets, part, jobs, done), daemon=True) for part in range(jobs)]
        for part in parts:
            part.start()
        with tqdm(total=total, desc='reading clips', unit='clip', disable=not total, leave=False) as bar:
            while any(part.is_alive() for part in parts):
                wait([part.sentinel for part in parts if part.is_alive()], timeout=0.2)
                bar.update(done.value - bar.n)
        for part in parts:
            part.join()

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


def _read(datasets: Sequence[Any], part: int, parts: int, done: Any) -> None:
    """Reads every N-th clip, which keeps it; one that cannot be read is left to the runs, which say so."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for dataset in datasets:
        for index in range(part, len(dataset), parts):
            with suppress(Exception):
                dataset[index]
            with done.get_lock():
                done.value += 1
    os._exit(0)  # no finalizers: what is kept is the parent's
