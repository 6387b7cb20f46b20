"""Prepared clips that end in shards: packed once all are prepared, and their files removed once all are packed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mmav.datasets.shards.index import INDEX, SHARDS, ShardIndex
from mmav.errors import MmavError
from mmav.outputs import RECORD
from mmav.preparation.checking import ManifestCheck
from mmav.preparation.packing import Packing, pack


def packed_names(out: Path) -> dict[str, int]:
    """Name -> place in the index of the clips that an earlier run has packed; none while shards are missing.

    Raises:
        MmavError: The index is not whole.
    """
    path = out / SHARDS / INDEX
    if not path.is_file():
        return {}
    index = ShardIndex(str(path))
    return {index.name(k): k for k in range(len(index))}


def require_packing(out: Path, names: Iterable[str]) -> None:
    """Refuses to prepare clips anew as files where an earlier run has packed them.

    Raises:
        MmavError: They are packed, and their files gone.
    """
    packed = packed_names(out)
    if any(name in packed and not (out / name).exists() for name in names):
        raise MmavError(f'the clips of {out} are packed in shards: give --shards, or another folder')


def forget_shards(out: Path) -> None:
    """Has all clips prepared and packed anew."""
    (out / SHARDS / INDEX).unlink(missing_ok=True)


def pack_prepared(
    out: Path, manifests: Sequence[ManifestCheck], *, size: int, seed: int | None, jobs: int | None, force: bool
) -> Packing | None:
    """Packs the prepared clips of a folder, there, and removes their files; goes on with what a killed run has left.

    Args:
        out: The folder.
        manifests: Its manifests.
        size: Bytes of a shard at most.
        seed: Of the order in which clips are packed; None for that of the manifests.
        jobs: Processes; defaults to one per core.
        force: Whether to begin anew if an earlier run had other options.

    Returns:
        What was packed; None if an earlier run had packed all.

    Raises:
        MmavError: Clips are new or have changed since the others were packed, whose files are gone.
    """
    names = list(dict.fromkeys(clip.path for manifest in manifests for clip in manifest.clips))
    packed = packed_names(out)
    there = [name for name in names if (out / name).is_file()]
    result = None
    if len(there) == len(names) and not (packed and _changed(out, there, packed) is None):
        result = pack(out, out, manifests, size=size, seed=seed, jobs=jobs, force=force)
    elif (name := _changed(out, there, packed)) is not None or not packed.keys() >= set(names):
        new = name or next(each for each in names if each not in packed)
        raise MmavError(
            f'{out / new} is new or has changed since the other clips were packed, whose files are gone: --force '
            'prepares all again, or give another folder'
        )
    _remove(out, there)
    return result


def _changed(out: Path, names: Collection[str], packed: dict[str, int]) -> str | None:
    """The first of some files that is not as it was packed."""
    if not names:
        return None
    if not packed:
        return next(iter(names))
    index = ShardIndex(str(out / SHARDS / INDEX))
    for name in names:
        if name not in packed:
            return name
        place = index.place(packed[name])
        if os.path.getsize(out / name) != place.size or zlib.crc32((out / name).read_bytes()) != place.checksum:
            return name
    return None


def _remove(out: Path, names: Collection[str]) -> None:
    """Removes files that are packed, and the folders that held nothing else."""
    folders = set[Path]()
    for name in names:
        (out / name).unlink(missing_ok=True)
        folders.update(parent for parent in (out / name).parents if out in parent.parents)
    for folder in sorted(folders, key=lambda each: -len(each.parts)):
        if {entry.name for entry in os.scandir(folder)} <= {RECORD}:
            (folder / RECORD).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
