"""What goes into which shard: a function of the manifests, the sizes of the files and the options alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mmav.datasets.manifest import join_path
from mmav.datasets.media import PairPath
from mmav.datasets.shards.tar import END, keys_of, note_of, room_of
from mmav.errors import ConfigError, MmavError
from mmav.preparation.checking import ManifestCheck
from mmav.tables import UNITS, bytes_in

# of a shard, unless another is given
SIZE = '512MB'
# A file's size and time of change are asked for many at a time, as on a network disk each takes milliseconds.
_THREADS = 16


def shard_size(text: str) -> int:
    """The bytes that an option for the size of shards says.

    Raises:
        ConfigError: It has no number or no unit.
    """
    found = bytes_in(text)
    if found is None:
        raise ConfigError(f'{text!r} is no size of shards: give a number and one of {", ".join(UNITS)}, as {SIZE}')
    return found


def require_seed(seed: int | None) -> None:
    """Checks an option for the seed of the order.

    Raises:
        ConfigError: It is negative.
    """
    if seed is not None and seed < 0:
        raise ConfigError(f'--shuffle {seed}: a seed is a whole number, 0 or more')


class Source(NamedTuple):
    """A file to be packed: its path in the manifest, its name in the shard, size, time of change, and ``key.json``."""

    path: str
    name: str
    size: int
    time: int
    note: bytes

    @property
    def room(self) -> int:
        """Bytes that it takes in a shard."""
        return room_of(self.name, self.size) + room_of(self.note_name, len(self.note))

    @property
    def note_name(self) -> str:
        """Name of ``key.json``."""
        return f'{self.name.rsplit(".", 1)[0]}.json'


class Shard(NamedTuple):
    """A shard to be written."""

    name: str
    sources: list[Source]

    def digest(self) -> str:
        """Changes with whatever the shard's bytes depend on."""
        digest = hashlib.blake2b(digest_size=16)
        for source in self.sources:
            digest.update(repr(tuple(source)).encode('utf-8', 'surrogateescape'))
        return digest.hexdigest()


def plan_shards(
    data_root: Path, manifests: Sequence[ManifestCheck], size: int, seed: int | None, failed: list[tuple[str, str]]
) -> Iterator[Shard]:
    """The shards of manifests, each with the files that no manifest before it names.

    Args:
        data_root: Folder that the paths are relative to.
        manifests: The manifests.
        size: Bytes of a shard at most; a larger file has one of its own.
        seed: Of the order of each manifest's files; None for that of the manifest.
        failed: Path and reason of files that cannot be read are added here.

    Raises:
        MmavError: A clip is in several files.
    """
    lists, rows, before = list[list[str]](), list[dict[str, list[int]]](), set[str]()
    for manifest in manifests:
        of_path: dict[str, list[int]] = {}
        for k, clip in enumerate(manifest.clips):
            if isinstance(clip.path, PairPath):
                raise MmavError(
                    f'{manifest.path}: {clip.path} is in several files, and a shard holds single ones: join them with '
                    '`mmav prepare` first'
                )
            if clip.path not in before:
                of_path.setdefault(clip.path, []).append(k)
        paths = list(of_path)
        if seed is not None:
            order = np.random.default_rng((seed, len(lists))).permutation(len(paths))
            paths = [paths[k] for k in order.tolist()]
        before.update(paths)
        lists.append(paths)
        rows.append(of_path)
    everything = [path for paths in lists for path in paths]
    keys = dict(zip(everything, keys_of(everything), strict=True))
    with ThreadPoolExecutor(_THREADS) as threads:
        status = threads.map(_status, (join_path(str(data_root), path) for path in everything))
        status = iter(tqdm(status, total=len(everything), desc='looking at files', unit='file'))
        for manifest, paths, of_path in zip(manifests, lists, rows, strict=True):
            stem, number, shard, room = Path(manifest.path).stem, 0, list[Source](), 0
            columns = [(k, name) for k, name in enumerate(manifest.header) if name != 'path']
            for path in paths:
                found = next(status)
                if isinstance(found, str):
                    failed.append((path, found))
                    continue
                key, suffix = keys[path]
                cells = [{name: manifest.rows[k][at].strip() for at, name in columns} for k in of_path[path]]
                source = Source(path, f'{key}.{suffix}', *found, note_of(path, cells))
                if shard and room + source.room + len(END) > size:
                    yield Shard(f'{stem}-{number:06d}.tar', shard)
                    number, shard, room = number + 1, [], 0
                shard.append(source)
                room += source.room
            if shard:
                yield Shard(f'{stem}-{number:06d}.tar', shard)
        next(status, None)  # ends the progress bar


def _status(path: str) -> tuple[int, int] | str:
    """Size and time of change of a file, or why it cannot be packed."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        return getattr(error, 'strerror', None) or str(error)
    if not os.path.isfile(path):
        return 'not a file'
    return (status.st_size, status.st_mtime_ns) if os.access(path, os.R_OK) else 'no permission to read it'
