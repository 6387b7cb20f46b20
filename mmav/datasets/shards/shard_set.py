"""Clips in shards: found by name in an index, read by range or forward, and checked."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmav.datasets.media.stored_file import StoredFile
from mmav.datasets.shards.forward import ForwardReader, Pool
from mmav.datasets.shards.index import INDEX, ShardIndex, open_index
from mmav.datasets.shards.stores import PIPE, SLOT, ShardAddress, ShardPipe, Store, is_address, open_store
from mmav.errors import ConfigError, MediaError, MissingMediaError, MmavError, did_you_mean, one_line
from mmav.files import written_whole

# Reads under way at a time, of one process: a batch's clips come together where each takes milliseconds.
THREADS = 16
# Seconds for which a list of the shards that are there is believed.
_BELIEVED = 10.0


class ShardMember(StoredFile):
    """A clip in a shard; as a string ``train-000003.tar:/clips/7.mp4``, with the folder or address of the shard.

    Its last part is the clip's own name, by which predictions on files and on shards are known to be of the same clip.

    Args:
        shards: The set of shards.
        clip: Which of its clips.
        name: Its name in the manifest.
        pool: The clips that are read forward with it; None to read it by range.
    """

    shards: ShardSet
    clip: int
    name: str
    pool: Pool | None

    def __new__(cls, shards: ShardSet, clip: int, name: str, pool: Pool | None = None) -> ShardMember:
        member = super().__new__(cls, f'{shards.where(clip)}:/{name}')
        member.shards, member.clip, member.name, member.pool = shards, clip, name, pool
        return member

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardMember, (self.shards, self.clip, self.name)

    def within(self, pool: Pool | None) -> ShardMember:
        """The same clip, read forward with the others of a pool."""
        return self if pool is None else ShardMember(self.shards, self.clip, self.name, pool)

    def is_there(self) -> bool:
        """Whether the index has the clip, and its shard is there."""
        return self.shards.has(self.clip)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            MediaError: They are not those that were packed; a MissingMediaError if there is no such clip or shard.
        """
        if self.clip < 0:
            raise MissingMediaError(self, 'the index of the shards has no such clip')
        return self.shards.read(self, self.clip, self.pool)

    def stamp(self) -> tuple[str, int, int]:
        """Where it is, its size and its checksum.

        Raises:
            OSError: The index has no such clip.
        """
        if self.clip < 0:
            raise FileNotFoundError(2, 'the index of the shards has no such clip', str(self))
        place = self.shards.index.place(self.clip)
        return str(self), place.size, place.checksum


class ShardSet:
    """Shards and their index.

    Args:
        index: The index.
        store: Where the shards are.
    """

    def __init__(self, index: ShardIndex, store: Store) -> None:
        self.index, self.store = index, store
        self._begin()

    def _begin(self) -> None:
        self._forward = ForwardReader(self.index, self.store)
        self._ahead: dict[int, Any] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._owner = os.getpid()
        self._listed: tuple[float, np.ndarray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardSet, (self.index, self.store)

    @property
    def is_forward(self) -> bool:
        """Whether clips can be read forward only."""
        return self.store.is_forward

    def where(self, clip: int) -> str:
        """The shard of a clip; the index if it has no such clip."""
        if clip < 0:  # of an address, the index is a copy
            return self.store.where(INDEX) if isinstance(self.store, ShardAddress) else self.index.path
        return self.store.where(self.index.shards[int(self.index.shard[clip])].name)

    def member(self, name: str) -> ShardMember:
        """The clip of a name; one that cannot be read if there is none."""
        return ShardMember(self, self.index.find(name), name)

    def has(self, clip: int) -> bool:
        """Whether the index has a clip, and its shard is there."""
        if clip < 0 or isinstance(self.store, ShardPipe):
            return clip >= 0
        if self._listed is None or time.monotonic() > self._listed[0] + _BELIEVED:
            try:
                there = self.store.names()
            except OSError:  # such as a web server, which lists nothing
                there = {shard.name for shard in self.index.shards}
            self._listed = time.monotonic(), np.array([shard.name in there for shard in self.index.shards])
        return bool(self._listed[1][self.index.shard[clip]])

    def require_own_index(self) -> None:
        """Refuses an index that was made of other shards: those that are there have other sizes.

        Raises:
            ConfigError: It was.
        """
        if isinstance(self.store, ShardPipe):
            return
        sizes = []
        for k in np.unique(np.linspace(0, len(self.index.shards) - 1, 4).astype(int)).tolist():
            shard = self.index.shards[k]
            try:
                sizes.append((shard, self.store.size(shard.name)))
            except OSError:
                continue
        if sizes and all(shard.size != size for shard, size in sizes):
            shard, size = sizes[0]
            raise ConfigError(
                f"the index '{self.index.path}' is of other shards: {self.store.where(shard.name)} has {size:,} bytes, "
                f'not {shard.size:,}; copy shards and index together, or make the index again with '
                '`mmav make-shards --index`'
            )

    def read(self, member: str, clip: int, pool: Pool | None = None) -> bytes:
        """The bytes of a clip.

        Args:
            member: What errors call it.
            clip: Which one.
            pool: The clips that are read forward with it; None to read it by range.

        Raises:
            ConfigError: Shards that are read forward only are read by range.
            MediaError: The bytes are not those that were packed; a MissingMediaError if the shard is missing.
        """
        self._settle()
        place = self.index.place(clip)
        shard = self.index.shards[place.shard]
        try:
            if pool is not None:
                data = self._forward.read(place.shard, place.offset, place.size, pool)
            elif isinstance(self.store, ShardPipe):
                raise ConfigError(
                    f'{self.store.where(shard.name)}: a command is read forward only, in the order of '
                    "sampler=dict(type='ShardSampler'), and in training only"
                )
            elif (ahead := self._ahead.pop(clip, None)) is not None:
                data = ahead.result()
            else:
                data = self.store.read(shard.name, place.offset, place.size)
        except FileNotFoundError:
            raise MissingMediaError(member, 'there is no such shard') from None
        except OSError as error:
            raise MediaError(member, f'its shard cannot be read: {error.strerror or one_line(error)}') from error
        if len(data) != place.size or zlib.crc32(data) != place.checksum:
            raise MediaError(member, self._damage(shard.name, shard.size, len(data) - place.size))
        return data

    def fetch(self, clips: Sequence[int]) -> None:
        """Begins to read clips that will be read next, all at the same time; does nothing on this machine's disks."""
        if isinstance(self.store, ShardPipe) or not self.store.is_remote or len(clips) < 2:
            return
        self._settle()
        self._threads = self._threads or ThreadPoolExecutor(THREADS)
        # those of a batch that was given up
        self._ahead.clear()
        for clip in clips:
            if clip >= 0:
                place = self.index.place(clip)
                name = self.index.shards[place.shard].name
                self._ahead[clip] = self._threads.submit(self.store.read, name, place.offset, place.size)

    def _settle(self) -> None:
        if self._owner != os.getpid():  # threads and pipes belong to the process that began them
            self._begin()

    def _damage(self, shard: str, expected: int, more: int) -> str:
        try:
            size = expected if isinstance(self.store, ShardPipe) else self.store.size(shard)
        except OSError:
            size = expected
        if size != expected:
            return f'its shard has {size:,} bytes, not the {expected:,} of the index: it is cut short, or another one'
        if more > 0:
            return 'its shard is read whole where a part was asked for: the server does not give ranges'
        return 'its bytes are not those that were packed (checksum): the shard is damaged'


def open_shards(shards: str | Mapping[str, str], data_root: str = '') -> ShardSet:
    """Opens shards.

    Args:
        shards: A folder of shards with their index, relative to ``data_root``, or an address of one that fsspec opens,
            such as ``s3://bucket/shards``. Or a dict of two: ``index``, such a folder or address, and ``source``,
            another place of the shards themselves, which may be a command, ``pipe:curl -s https://host/{}``.
        data_root: Folder that a folder is relative to.

    Raises:
        ConfigError: There is no index, or the place is of an unknown kind.
        MmavError: The index is not whole.
    """
    parts = dict(index=shards) if isinstance(shards, str) else shards
    known = ('index', 'source')
    if not isinstance(parts, Mapping) or not isinstance(parts.get('index'), str):
        raise ConfigError(f"shards={shards!r}: give a folder or an address, or dict(index=..., source='pipe:...')")
    if unknown := [name for name in parts if name not in known]:
        raise ConfigError(f'shards has no entry {unknown[0]!r}{did_you_mean(unknown[0], known)}')
    if not isinstance(parts.get('source') or '', str):
        raise ConfigError(f'shards has source={parts["source"]!r}: give a folder, an address or a command')
    place = parts['index']
    if place.startswith(PIPE):
        raise ConfigError(
            f'shards={place!r}: a command has no index: give dict(index=FOLDER, source={place!r}), with {SLOT} for the '
            'name of the shard; `mmav make-shards --index` makes the index'
        )
    place = _placed(place, data_root)
    index = open_index(_local(place) if is_address(place) else os.path.join(place, INDEX))
    source = parts.get('source') or index.source
    return ShardSet(index, open_store(_placed(source, data_root) if source else place))


def _placed(place: str, data_root: str) -> str:
    if place.startswith(PIPE) or is_address(place):
        return place
    return os.path.join(os.path.expanduser(data_root), os.path.expanduser(place))


def _local(address: str) -> str:
    """A copy of the index at an address, to be mapped into memory."""
    store = ShardAddress(address)
    where = store.where(INDEX)
    try:
        version = store.version(INDEX)
        name = '-'.join(hashlib.sha256(text.encode()).hexdigest()[:16] for text in (where, version))
        copy = Path(torch.hub.get_dir()) / 'shards' / f'{name}.index'
        content = None if copy.is_file() else store.fetch(INDEX)
    except FileNotFoundError:
        raise ConfigError(f'no index of shards at {where}: `mmav make-shards` makes shards and their index') from None
    except OSError as error:
        raise MmavError(f'{where} cannot be read: {error.strerror or one_line(error)}') from error
    if content is not None:
        try:
            with written_whole(copy) as part:
                part.write_bytes(content)
        except OSError as error:
            raise MmavError(
                f"'{copy}', a copy of {where}, cannot be written: {error.strerror or error}; set TORCH_HOME to a "
                'folder with room'
            ) from error
    return str(copy)
