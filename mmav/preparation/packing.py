"""Packs the clips of a dataset into tar shards with an index, see :mod:`mmav.datasets.shards`.

A stopped run goes on where it was: a shard under its final name is complete and was read back. What is packed where
depends on the manifests, the sizes of the files and the options alone, so that shards come out the same, byte for byte.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmav.datasets.manifest import join_path
from mmav.datasets.shards.index import INDEX, SHARDS, IndexBuilder
from mmav.datasets.shards.tar import Packed, TarScan, TarWriter, TornTar
from mmav.errors import ConfigError, MmavError
from mmav.files import remove_torn_files
from mmav.journal import Journal, read_journal
from mmav.outputs import (
    check_all_own,
    check_folder,
    check_own,
    is_edited_copy,
    program,
    same_file,
    write_output,
    writing,
)
from mmav.parallel import Lost, run_parallel
from mmav.preparation.checking import ManifestCheck
from mmav.preparation.shard_plan import Shard, Source, plan_shards, require_seed
from mmav.preparation.transcoding import lists_of
from mmav.tables import write_csv

JOURNAL = 'shards_journal.jsonl'
FAILED = 'shards_failed.csv'
# the owner of the files in the record of the folder, in all processes
PROGRAM = 'make_shards.py'
_SMALLEST = 1 << 10


class Written(NamedTuple):
    """A written shard: its bytes, their CRC-32, its time of change, and first byte and CRC-32 of each clip (N,)."""

    size: int
    checksum: int
    time: int
    offsets: np.ndarray
    checksums: np.ndarray

    def to_json(self) -> list[Any]:
        """As JSON holds it."""
        return [*self[:3], *(base64.b64encode(column.tobytes()).decode() for column in self[3:])]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> Written:
        """What :meth:`to_json` gave."""
        offsets, checksums = (base64.b64decode(text) for text in values[3:])
        return cls(
            values[0], values[1], values[2], np.frombuffer(offsets, np.int64), np.frombuffer(checksums, np.uint32)
        )


class Packing(NamedTuple):
    """What was packed.

    Attributes:
        shards: Number of shards.
        clips: Number of clips.
        size: Bytes of all shards.
        written: Number of shards written now.
        failed: Path and reason of lost files.
        edited: Manifests and class lists that their user has edited, and that stay as they are.
    """

    shards: int
    clips: int
    size: int
    written: int
    failed: list[tuple[str, str]]
    edited: list[str]


def pack(
    data_root: Path,
    out: Path,
    manifests: Sequence[ManifestCheck],
    *,
    size: int,
    seed: int | None = None,
    jobs: int | None = None,
    force: bool = False,
) -> Packing:
    """Packs the files of manifests into shards of their own, ``train-000000.tar``, with an index of all.

    Args:
        data_root: Folder that the paths are relative to.
        out: The new folder; may be ``data_root``.
        manifests: The manifests; a file that several name is packed with the first.
        size: Bytes of a shard at most; a larger file has one of its own.
        seed: Packs the files of each manifest in an order drawn with it; None for that of the manifest.
        jobs: Processes; defaults to one per core.
        force: Whether to begin anew if an earlier run had other options.

    Raises:
        ConfigError: ``size`` is too small, or ``seed`` negative.
        MmavError: An earlier run had other options, a clip is in several files, no file can be read, or the disk is
            full.
    """
    if size < _SMALLEST:
        raise ConfigError(f'shards of {size} bytes are too small: give 100MB to 1GB')
    require_seed(seed)
    settings = dict(size=size, shuffle=seed)
    before, _ = read_journal(out / JOURNAL)
    if before is not None and before != settings and not force:
        different = [f'{k} {before.get(k)!r}, now {v!r}' for k, v in settings.items() if before.get(k) != v]
        raise MmavError(
            f'{out} was packed with other options ({"; ".join(different)}); give another folder, or --force to pack '
            'all again'
        )
    lists = _lists_to_copy(data_root, out, manifests)
    failed: list[tuple[str, str]] = []
    plan = list(plan_shards(data_root, manifests, size, seed, failed))
    if not plan:
        path, reason = failed[0]
        raise MmavError(f'none of the {len(failed)} files can be packed; the first is {data_root / path}: {reason}')
    folder = out / SHARDS
    with program(PROGRAM):
        check_folder(folder)
        check_all_own(
            (folder / name for name in (INDEX, *(shard.name for shard in plan))), remedy='give another folder'
        )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), Journal(out / JOURNAL, settings) as journal:
        remove_torn_files(folder)
        entries = {entry['shard']: entry for entry in journal.entries}
        done = {shard.name: found for shard in plan if (found := _finished(folder, shard, entries))}
        waiting = [shard for shard in plan if shard.name not in done]
        if waiting:  # until all is there, there are no shards to read
            (folder / INDEX).unlink(missing_ok=True)
        for k, result in run_parallel(
            partial(_write, str(data_root), str(folder)), waiting, jobs=jobs, label='packing', done_before=len(done)
        ):
            shard = waiting[k]
            if isinstance(result, Lost):
                raise MmavError(f'packing {shard.name} {result.reason}; the same command goes on with the others')
            done[shard.name] = result
            journal.add(dict(shard=shard.name, plan=shard.digest(), written=result.to_json()))
        with program(PROGRAM):
            _remove_others(folder, entries, done)
            write_output(folder / INDEX, _index_of(plan, done))
            _write_lists(out, lists.copied, failed)
    clips = sum(len(shard.sources) for shard in plan)
    return Packing(len(plan), clips, sum(each.size for each in done.values()), len(waiting), failed, lists.edited)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second run from packing to the same folder, on systems that can.

    Raises:
        MmavError: Another run is at work.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MmavError(f"another run packs to '{folder}': wait for it, or give another folder") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(lock)


def _finished(folder: Path, shard: Shard, entries: dict[str, Any]) -> Written | None:
    """A shard that an earlier run has written of the same files, and that was not changed since."""
    entry = entries.get(shard.name)
    if entry is None or entry['plan'] != shard.digest():
        return None
    written = Written.from_json(entry['written'])
    try:
        status = os.stat(folder / shard.name)
    except OSError:
        return None
    return written if (status.st_size, status.st_mtime_ns) == (written.size, written.time) else None


def _write(data_root: str, folder: str, shard: Shard) -> Written:
    """Writes a shard, and reads it back before it gets its name."""
    target = os.path.join(folder, shard.name)
    try:
        return _write_to(target, data_root, shard)
    except OSError as error:  # such as of a full disk, which names no file
        reason = error.strerror or error
        raise MmavError(f"'{target}' cannot be written: {reason}; the same command goes on with the others") from error


def _write_to(target: str, data_root: str, shard: Shard) -> Written:
    packed: list[Packed] = []
    with program(PROGRAM), writing(target) as part:
        with open(part, 'wb') as file:
            writer = TarWriter(file)
            for source in shard.sources:
                packed.append(writer.add(source.name, _bytes_of(join_path(data_root, source.path), source)))
                writer.add(source.note_name, source.note)
            writer.finish()
        with open(part, 'rb') as file:
            scan = TarScan(file)
            try:
                read_back = [each for each, _ in scan][::2]
            except TornTar as error:
                raise MmavError(f"'{target}' {error}: the disk does not keep what is written to it") from error
        if read_back != packed or scan.checksum != writer.checksum:
            raise MmavError(f"'{target}' reads back differently: the disk does not keep what is written to it")
    offsets, checksums = (np.array([each[k] for each in packed], kind) for k, kind in ((1, np.int64), (3, np.uint32)))
    return Written(writer.size, writer.checksum, os.stat(target).st_mtime_ns, offsets, checksums)


def _bytes_of(path: str, source: Source) -> bytes:
    try:
        with open(path, 'rb') as file:
            data = file.read()
            status = os.fstat(file.fileno())
    except OSError as error:
        raise MmavError(
            f'{path} cannot be read: {error.strerror}; mend it or take it out of the manifest, then the same command '
            'goes on'
        ) from error
    if (len(data), status.st_mtime_ns) != (source.size, source.time):
        raise MmavError(f'{path} has changed while it was packed: give the same command again')
    return data


def _index_of(plan: Sequence[Shard], done: dict[str, Written]) -> bytes:
    builder = IndexBuilder()
    for shard in plan:
        written = done[shard.name]
        builder.add_shard(shard.name, written.size)
        places = zip(shard.sources, written.offsets.tolist(), written.checksums.tolist(), strict=True)
        for source, offset, checksum in places:
            builder.add(source.path, offset, source.size, checksum)
    return builder.finish()


def _remove_others(folder: Path, entries: dict[str, Any], done: dict[str, Written]) -> None:
    """Removes shards that earlier runs wrote and that no manifest needs any more."""
    for name in entries.keys() - done.keys():
        if (folder / name).is_file():
            check_own(folder / name, remedy='give another folder')
            (folder / name).unlink()


class _Lists(NamedTuple):
    """Manifests and class lists: those to be copied, and the names of those that were edited since they were."""

    copied: list[Path]
    edited: list[str]


def _lists_to_copy(data_root: Path, out: Path, manifests: Sequence[ManifestCheck]) -> _Lists:
    """What makes the new folder a dataset of its own; edited copies stay while their originals are the same."""
    names = [Path(manifest.path).name for manifest in manifests]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise MmavError(f"two manifests are named '{twice}' and would replace each other: give one at a time")
    lists = [Path(manifest.path) for manifest in manifests] + lists_of(data_root)
    sources = [] if same_file(data_root, out) else lists
    with program(PROGRAM):
        edited = [path for path in sources if is_edited_copy(out / path.name, path)]
        copied = [path for path in sources if path not in edited]
        check_folder(out, [*(path.name for path in copied), FAILED], inputs=lists)
    return _Lists(copied, [path.name for path in edited])


def _write_lists(out: Path, lists: Sequence[Path], failed: Sequence[tuple[str, str]]) -> None:
    for path in lists:
        write_output(out / path.name, path.read_bytes())
    if failed or (out / FAILED).is_file():
        write_csv(out / FAILED, [('path', 'error'), *failed])
