"""Keeps what the deterministic steps of a pipeline give, so that an epoch computes the random ones alone.

An item is the same, bit for bit, as without. Which steps are deterministic, they say themselves
(:mod:`mmav.datasets.transforms.determinism`). A clip is stored when it is first prepared; one that cannot be read is
tried again each time, as without. All clips of a dataset are in one file (:mod:`mmav.datasets.item_file`), which the
processes of this machine share, those of other runs included.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log
from tqdm import tqdm

from mmav.datasets.cache_folder import PREPARED, RAM, CacheFolder, size_of
from mmav.datasets.item_file import ItemFile, Unstorable, pack_item, unpack_item
from mmav.datasets.item_identity import identity_of
from mmav.datasets.media.pair_path import stamps_of
from mmav.datasets.seldom import Seldom
from mmav.datasets.transforms.determinism import split_steps
from mmav.errors import ConfigError, MediaError
from mmav.outputs import is_first

# So many clips are prepared first, to find out the size.
TRIED = 8
# Not stored, as there is no room.
FULL = -2


class PreparedCache:
    """Clips of a dataset behind the deterministic steps of its pipeline, stored as they are first prepared.

    Args:
        place: 'prepared' for memory that the processes of this machine share, or 'prepared:DIR' for a folder on disk,
            which is kept and used again. Files of another length or time of change, other steps and other settings are
            told apart.
        steps: The pipeline, built.
        given: The same as the config has it.
        clip_of: Index -> clip, as the pipeline gets it.
        number: N, how many there are.
        name: The dataset's manifest.
        dropouts: Modalities that training may withhold; each is prepared apart.
        about: What else items depend on, such as the rows of the manifest.

    Raises:
        ConfigError: The first step is random, the clips do not fit, or a step gives something that is not stored.

    Attributes:
        kept: Bytes stored of each clip (N * (1 + number of ``dropouts``),), 0 if it was not prepared yet, FULL if there
            was no room; shared by all workers of this process.
        need: Bytes of all clips, from those of a few.
    """

    def __init__(
        self,
        place: str,
        steps: Sequence[Any],
        given: Sequence[Any],
        *,
        clip_of: Callable[[int], dict[str, Any]],
        number: int,
        name: str,
        dropouts: Sequence[str] = (),
        about: Sequence[Any] = (),
    ) -> None:
        fixed, rest = split_steps(steps)
        _require_any(place, steps, fixed)
        self.place, self.name, self._clip_of, self._number = place, name, clip_of, number
        self._fixed, self._rest = Compose(fixed), Compose(rest)
        self._variants = ((), *((modality,) for modality in dropouts))
        self._folder = CacheFolder(folder_of(place))
        places = number * len(self._variants)
        configs = [given[k] for k, step in enumerate(steps) if any(step is each for each in fixed)]
        identity = identity_of(place, fixed, configs, [os.path.abspath(name), number, self._variants, *about])
        try:
            self._items = ItemFile(os.path.join(self._folder.path, f'{identity}.items'), places)
        except OSError as error:
            raise ConfigError(f'cache={place!r}: {error.filename}: {error.strerror}; give another folder') from error
        self.kept = torch.zeros(places, dtype=torch.int64)
        self._stamps = torch.zeros(number, dtype=torch.int64)
        self._said = torch.zeros(1, dtype=torch.int64)
        self._is_full = torch.zeros(1, dtype=torch.uint8)
        self._seldom = Seldom(number)
        self.tensors = self.kept, self._stamps, self._said, self._is_full
        self.need = self._measure()
        self._folder.claim(self)

    def __call__(self, index: int, clip: dict[str, Any]) -> Any:
        """What the pipeline gives for a clip.

        Args:
            index: Its place in the dataset.
            clip: The clip, as the pipeline gets it; what the steps add is added to it.

        Raises:
            MediaError: It is not stored, and cannot be read.
        """
        prepared = self._prepare(index, clip)
        return None if prepared is None else self._rest(prepared)

    def fill(self, *, progress: bool = True) -> None:
        """Prepares all clips that are not stored yet; unreadable ones are left out.

        Args:
            progress: Whether to show a progress bar.
        """
        hidden = not progress or not is_first()
        for index in tqdm(range(self._number), 'cache: clips', unit='clip', disable=hidden, leave=False):
            clip = self._clip(index)
            with suppress(MediaError):
                self._prepare(index, clip)
        self.report(self.kept[: self._number] == 0)

    @property
    def reported(self) -> bool:
        """Whether :meth:`report` has nothing more to say."""
        return bool(self._said.numpy()[0])

    def has_to_report(self) -> bool:
        """Whether it is time for :meth:`report`, which looks at all clips."""
        return not self.reported and self._seldom.due()

    def report(self, broken: torch.Tensor) -> None:
        """Logs once that all clips were prepared, and how many are stored.

        Args:
            broken: Which clips cannot be read, bool (N,).
        """
        if self.reported:
            return
        kept = self.kept[: self._number]
        left = self._number - int(((kept != 0) | broken).sum())
        self._seldom.wait(left)
        if not left:
            self._said[0] = 1
            full = int((kept == FULL).sum())
            more = f'; {full:,} for which there is no room are prepared each time' if full else ''
            count, size = int((kept > 0).sum()), size_of(int(self.kept.clamp(0).sum()))
            print_log(
                f'cache: {count:,} clips of {self.name} are kept prepared {self._where()}, {size}{more}', 'current'
            )

    def _prepare(self, index: int, clip: dict[str, Any]) -> dict[str, Any] | None:
        place = index + self._number * self._variants.index(tuple(clip['dropout']))
        stamp = self._stamp(index, clip)
        item = self._items.get(place, stamp) if stamp else None
        if item is None:
            prepared, added = self._compute(clip)
            if prepared is not None and stamp and not self._is_full[0]:
                self._store(place, stamp, self._pack(added))
            return prepared
        kept = self.kept.numpy()
        if kept[place] <= 0:
            kept[place] = item.size
        clip.update(unpack_item(item))
        return clip

    def _compute(self, clip: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """What the deterministic steps give, and what of it they have added."""
        before, state = dict(clip), clip['rng'].bit_generator.state
        prepared = self._fixed(clip)
        if clip['rng'].bit_generator.state != state:
            raise ConfigError(
                f'cache={self.place!r}: one of {self._names()} says that it is deterministic, but draws from rng: '
                'correct its class'
            )
        new = (prepared or {}).items()
        return prepared, {name: value for name, value in new if name not in before or before[name] is not value}

    def _pack(self, added: dict[str, Any]) -> bytes:
        try:
            return pack_item(added)
        except Unstorable as error:
            raise ConfigError(
                f'cache={self.place!r}: what the steps {self._names()} give cannot be stored: {error}; leave the cache '
                'out, or set deterministic = False in the class'
            ) from error

    def _store(self, place: int, stamp: int, item: bytes) -> None:
        try:
            if self._folder.room().usable < len(item):
                raise OSError(28, 'no room')
            self._items.put(place, stamp, item)
            self.kept[place] = len(item)
        except OSError as error:
            self.kept[place], self._is_full[0] = FULL, 1
            print_log(
                f'cache: no more clips are kept {self._where()} ({error.strerror or error}); the others are prepared '
                'each time, as without a cache',
                'current',
                level=logging.WARNING,
            )

    def _names(self) -> str:
        return ', '.join(type(step).__name__ for step in self._fixed.transforms)

    def _clip(self, index: int) -> dict[str, Any]:
        return dict(self._clip_of(index), rng=np.random.default_rng(0))

    def _stamp(self, index: int, clip: dict[str, Any]) -> int:
        """What a clip is made of, as a number; 0 if a file is missing. Found out once, as files of a run stay."""
        stamps = self._stamps.numpy()
        if not stamps[index]:
            try:
                files = stamps_of(clip['path'])
            except OSError:
                return 0
            rates = [getattr(clip['path'], name, None) for name in ('fps', 'sample_rate')]
            made_of = json.dumps([files, rates, clip['start'], clip['end']])
            stamps[index] = int.from_bytes(hashlib.sha256(made_of.encode()).digest()[:8], 'big') >> 1 | 1
        return int(stamps[index])

    def _measure(self) -> int:
        """Prepares some clips, says how much all will take, and refuses what does not fit; returns the size."""
        number, places = self._number, len(self.kept)
        sizes, new = [], []
        for index in np.unique(np.linspace(0, number - 1, TRIED).round().astype(int)).tolist():
            clip = self._clip(index)
            stamp = self._stamp(index, clip)
            item: Any = self._items.get(index, stamp) if stamp else None
            if item is None:
                try:
                    prepared, added = self._compute(clip)
                except MediaError:
                    continue
                if prepared is None:
                    continue
                item = self._pack(added)
                new.append((index, stamp, item))
            sizes.append(len(item))
        need = round(np.mean(sizes) * places) if sizes else 0
        stored = self._items.sizes()
        there = int(stored.sum())
        room, promised = self._folder.room(), self._folder.promised()
        what = f'{number:,} prepared clip{"s" * (number > 1)} of {self.name}, about {size_of(need)}'
        if max(0, need - there) + promised > room.usable:
            taken = f', of which another dataset takes {size_of(promised)}' if promised else ''
            disk = f'a folder on {"" if self._folder.in_memory else "a larger "}disk'
            raise ConfigError(
                f"cache='{self.place}': {what} do not fit into {size_of(room.free)} of free {room.what}{taken}; "
                f"give {disk} (cache='{PREPARED}:DIR')"
            )
        known = f', {int((stored > 0).sum()):,} of them there already' if there else ''
        print_log(f'cache: {what} of {size_of(room.free)} free {room.what}{known}', 'current')
        for index, stamp, item in new:
            if stamp:
                self._store(index, stamp, item)
        return need

    def _where(self) -> str:
        return 'in memory' if self._folder.in_memory else f'in {self._folder.path}'


def is_prepared(place: Any) -> bool:
    """Whether a cache keeps prepared clips.

    >>> is_prepared('prepared'), is_prepared('prepared:/disk'), is_prepared('ram')
    (True, True, False)
    """
    return isinstance(place, str) and (place == PREPARED or place.startswith(f'{PREPARED}:'))


def folder_of(place: str) -> str:
    """Where a cache of prepared clips is: 'ram' or a folder.

    >>> folder_of('prepared'), folder_of('prepared:/disk')
    ('ram', '/disk')
    """
    return RAM if place == PREPARED else place.removeprefix(f'{PREPARED}:')


def _require_any(place: str, steps: Sequence[Any], fixed: Sequence[Any]) -> None:
    if fixed and fixed[0] is steps[0]:
        return
    if not steps:
        raise ConfigError(f'cache={place!r} has no effect: the pipeline is empty; leave it out')
    name = type(steps[0]).__name__
    if getattr(steps[0], 'mode', None) == 'random' and 'deterministic' in vars(type(steps[0])):
        raise ConfigError(
            f"cache={place!r} keeps what the first steps give, but {name}(mode='random') reads other frames each time: "
            "set its mode='uniform', or cache='ram', which keeps decoded frames"
        )
    raise ConfigError(
        f'cache={place!r} keeps what the first steps give, but {name} is random, or does not say otherwise: if it '
        'gives the same for a clip every time, write deterministic = True into its class'
    )
