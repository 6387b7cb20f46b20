"""Keeps the decoded clips of a dataset: their frames at the pipeline's short side, and their audio.

An item is the same, bit for bit, as without: :mod:`mmav.datasets.media.cached_reader` says what is stored. A clip is
stored when it is first read, so nothing waits for the cache, and a run that is killed loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import av
import torch
from mmengine.logging import print_log
from tqdm import tqdm

from mmav.datasets.cache_folder import CacheFolder, Room, size_of
from mmav.datasets.media import MediaReader, open_media, open_stream
from mmav.datasets.media.cached_reader import CachedReader, Part, StoringReader, remove_damaged
from mmav.datasets.media.pair_path import stamps_of
from mmav.datasets.media.stored_clip import DamagedClip, StoredClip
from mmav.datasets.media.video import scaled_size
from mmav.datasets.seldom import Seldom
from mmav.datasets.transforms.load_clip import LoadClip
from mmav.errors import ConfigError, MediaError
from mmav.outputs import is_first

# Changes with the format of stored clips, and with how files are read.
FORMAT = 2
# Headers read to find out the size; of more clips, a sample.
HEADERS = 10_000
# From so many on there is a progress bar.
SHOWN = 1000
# How often the log says how far the storing is.
QUARTERS = 4
# Bytes of a stored clip's notes.
OVERHEAD = 1024
# A clip's place in ``kept`` if it is not stored, and reads its file as before.
REFUSED, FULL = -1, -2


class ClipCache:
    """Decoded clips of a dataset, which are stored as they are first read.

    Args:
        place: 'ram' for memory that the processes of this machine share, or a folder on disk, which is kept and used
            again. Files of another length, time of change or setting are told apart.
        load: The step that reads clips.
        clip_of: Index -> clip, as the step gets it.
        number: N, how many there are.
        name: Name of the dataset in messages.

    Raises:
        ConfigError: The clips do not fit, or the settings do not allow a cache.

    Attributes:
        kept: Bytes stored of each clip (N,), 0 if it was not read yet, REFUSED or FULL if it is read from its file;
            shared by all workers of this process.
        need: Bytes of all clips, computed from their headers.
    """

    def __init__(
        self, place: str, load: LoadClip, clip_of: Callable[[int], dict[str, Any]], *, number: int, name: str
    ) -> None:
        if load.backend != 'pyav':
            raise ConfigError(f"cache={place!r} needs LoadClip with backend='pyav', not {load.backend!r}")
        if load.num_windows > 1:
            raise ConfigError(
                f'cache={place!r} keeps one window of a clip, not num_windows={load.num_windows}: leave it out'
            )
        self.place, self.name = place, name
        self._load, self._folder = load, CacheFolder(place)
        self.kept = torch.zeros(number, dtype=torch.int64)
        self._said = torch.zeros(1, dtype=torch.int64)
        # whether any clip is FULL, and REFUSED, at these two places
        self._met = torch.zeros(2, dtype=torch.uint8)
        self._seldom = Seldom(number)
        self.tensors = self.kept, self._said, self._met
        self.need = self._measure(clip_of)
        self._folder.claim(self)

    @property
    def room(self) -> Room:
        """How much fits where the clips are kept."""
        return self._folder.room()

    def reader(self, index: int, clip: dict[str, Any]) -> MediaReader:
        """Opens a clip for reading.

        Args:
            index: Its place in the dataset.
            clip: The clip, as LoadClip gets it.

        Raises:
            MediaError: It is not stored, and its file cannot be opened.
        """
        path, part, target = clip['path'], self._part(clip), self._target(clip)
        stored = self._find(target)
        if stored is None and target is not None and self._has_room():
            told = partial(self._note, index, path)
            stream = open_stream(path, threads=self._load.threads, limits=self._load.limits)
            return StoringReader(stream, part, target, told=told)
        if stored is None or target is None:
            reader = self._open(path)
            self._set(index, FULL if target is not None else 0)
            return reader
        if 'refused' in stored.notes:
            if self.kept[index] == 0:
                self._note(index, path, stored.notes['refused'])
            stored.close()
            return self._open(path)
        self.kept[index] = stored.size
        forget = partial(remove_damaged, target)
        return CachedReader(path, stored, part, opener=partial(self._open, path), forget=forget)

    @property
    def reported(self) -> bool:
        """Whether :meth:`report` has nothing more to say."""
        return bool(self._said.numpy()[0] == QUARTERS)

    def has_to_report(self) -> bool:
        """Whether it is time for :meth:`report`, which looks at all clips."""
        return not self.reported and self._seldom.due()

    def report(self, broken: torch.Tensor) -> None:
        """Logs that all clips were read, and how many are stored; of many clips also each quarter on the way.

        Args:
            broken: Which clips cannot be read, bool (N,).
        """
        if self.reported:
            return
        number = len(self.kept)
        seen = int(((self.kept != 0) | broken).sum())
        done = QUARTERS * seen // number
        self._seldom.wait(-(-(done + 1) * number // QUARTERS) - seen)
        if done <= self._said[0] or (done < QUARTERS and number < SHOWN):
            return
        self._said[0] = done
        kinds = self.kept.clamp(FULL, 1)
        count = {kind: int((kinds == kind).sum()) for kind in (1, REFUSED, FULL)}
        if done < QUARTERS:
            print_log(f'cache: {count[1]:,} of {number:,} clips of {self.name} are kept {self._where()}', 'current')
            return
        kept = f'{count[1]:,} clips of {self.name} are kept {self._where()}, {size_of(int(self.kept.clamp(0).sum()))}'
        refused = f'; {count[REFUSED]:,} of a kind that is read from their files' if count[REFUSED] else ''
        full = f'; {count[FULL]:,} for which there is no room are read from their files' if count[FULL] else ''
        print_log(f'cache: {kept}{refused}{full}', 'current')

    def _has_room(self) -> bool:
        return not self._met[FULL] and self._folder.room().usable > 0

    def _where(self) -> str:
        return 'in memory' if self._folder.in_memory else f'in {self._folder.path}'

    def _part(self, clip: dict[str, Any]) -> Part:
        modalities = tuple(name for name in clip['modalities'] if name not in clip.get('dropped', ()))
        load = self._load
        fixed = load.mode == 'uniform'
        return Part(clip['start'], clip['end'], modalities, load.short_side, load.sample_rate, fixed)

    def _target(self, clip: dict[str, Any]) -> str | None:
        """Name of the stored clip, which depends on all that its content depends on; None without a file."""
        load = self._load
        try:
            stamps = stamps_of(clip['path'])
        except OSError:
            return None
        part = self._part(clip)
        settings = [load.window, asdict(load.limits)]
        if part.fixed:
            settings += [load.num_frames, load.frame_interval, load.num_views, load.same_window]
        rates = [getattr(clip['path'], name, None) for name in ('fps', 'sample_rate')]
        key = json.dumps([FORMAT, av.__version__, av.library_versions, stamps, rates, asdict(part), settings])
        return os.path.join(self._folder.path, f'{hashlib.sha256(key.encode()).hexdigest()[:40]}.clip')

    def _find(self, target: str | None) -> StoredClip | None:
        if target is None:
            return None
        try:
            return StoredClip(target)
        except FileNotFoundError:
            return None
        except DamagedClip:
            remove_damaged(target)
            return None

    def _open(self, path: str) -> MediaReader:
        return open_media(path, threads=self._load.threads, limits=self._load.limits)

    def _note(self, index: int, path: str, found: int | str | OSError) -> None:
        """Records what became of a clip."""
        if isinstance(found, int):
            self.kept[index] = found
            return
        refused = isinstance(found, str)
        state = REFUSED if refused else FULL
        if not self._met[state]:
            reason = found if isinstance(found, str) else f'it cannot be stored ({found.strerror or found})'
            print_log(
                f'cache: {path} is read from its file, as without a cache: {reason}; further ones are counted',
                'current',
                level=logging.WARNING,
            )
        self._set(index, state)

    def _set(self, index: int, state: int) -> None:
        self.kept[index] = state
        if state in (REFUSED, FULL):
            self._met[state] = 1

    def _measure(self, clip_of: Callable[[int], dict[str, Any]]) -> int:
        """Computes the size, says it, and refuses what does not fit; returns the size."""
        number = len(self.kept)
        step = max(1, -(-number // HEADERS))
        sample = range(0, number, step)
        hidden = len(sample) < SHOWN or not is_first()
        bar = tqdm(sample, 'cache: headers', unit='file', disable=hidden, leave=False)
        sizes = [self._size(clip_of(index)) for index in bar]
        scale = number / max(1, len(sample))
        there, missing = (int(scale * sum(size for size, found in sizes if found is flag)) for flag in (True, False))
        room = self._folder.room()
        promised = self._folder.promised()
        what = f'{number:,} clip{"s" * (number > 1)} of {self.name}, {"about " * (step > 1)}{size_of(there + missing)}'
        if missing + promised > room.usable:
            taken = f', of which another dataset takes {size_of(promised)}' if promised else ''
            disk = 'a folder on disk' if self._folder.in_memory else 'a folder on a larger disk'
            side = self._load.short_side
            smaller = f'a short_side of LoadClip below {side}' if side else 'LoadClip a short_side'
            raise ConfigError(
                f"cache='{self.place}': {what} do not fit into {size_of(room.free)} of free {room.what}{taken}; "
                f"give {disk} (cache='DIR'), or {smaller}"
            )
        known = f', {size_of(there)} of them there already' if there else ''
        print_log(f'cache: {what} of {size_of(room.free)} free {room.what}{known}', 'current')
        return there + missing

    def _size(self, clip: dict[str, Any]) -> tuple[int, bool]:
        """Bytes of a clip, and whether it is stored."""
        target = self._target(clip)
        if target is not None and os.path.exists(target):
            return os.path.getsize(target), True
        try:
            with self._open(clip['path']) as reader:
                info = reader.info
        except MediaError:
            return 0, False
        load, part = self._load, self._part(clip)
        start, end = part.span(info.duration)
        window = min(end - start, load.window or end - start)
        size = OVERHEAD
        if info.has_audio and 'audio' in part.modalities and (part.fixed or window == end - start):
            size += round(window * load.sample_rate) * 4
        if info.has_video and 'video' in part.modalities:
            height, width = scaled_size(info.height, info.width, part.short_side)
            frames = int((end - start) * info.fps) + 2
            if part.fixed:
                frames = min(frames, load.num_frames * load.num_views)
            size += frames * height * width * 3
        return max(0, size), False


def find_loader(transforms: Sequence[Callable[..., Any]], place: str) -> LoadClip:
    """The step of a pipeline that reads clips.

    Args:
        transforms: The pipeline.
        place: The cache, for the message.

    Raises:
        ConfigError: There is none.
    """
    for step in transforms:
        if isinstance(step, LoadClip):
            return step
    raise ConfigError(f'cache={place!r} has no effect: the pipeline has no LoadClip; leave it out')
