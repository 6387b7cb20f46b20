"""Transcodes a dataset for fast training: every clip of its manifests, with its lists beside them."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmav.datasets.columns import PAIR, RATES, find_columns
from mmav.datasets.manifest import join_path
from mmav.datasets.media import files_of
from mmav.datasets.media.pair_path import stamps_of
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.errors import MediaError, MmavError, OutputError
from mmav.journal import Journal, read_journal
from mmav.outputs import (
    adopt,
    check_all_own,
    check_folder,
    move_output,
    program,
    read_record,
    same_file,
    write_output,
)
from mmav.parallel import Lost, run_parallel
from mmav.preparation.checking import ManifestCheck, file_stamp
from mmav.tables import write_csv

JOURNAL = 'prepare_journal.jsonl'
UNFINISHED = '.unfinished'
FAILED = 'prepare_failed.csv'
# the owner of the files in the record of the folder, in all processes
PROGRAM = 'prepare_media.py'
# Lists of classes and of tail classes are part of a dataset; reports of other tools are not.
LISTS = ('*.txt', 'EPIC_100_tail_*.csv')


class Outcome(NamedTuple):
    """The outcome for a file: sizes in bytes, its length in seconds, damaged packets, or why it cannot be read."""

    error: str | None = None
    size_before: int = 0
    size_after: int = 0
    seconds: float = 0.0
    damaged: int = 0


def target_names(paths: Sequence[str]) -> dict[str, str]:
    """The paths of files in the new folder: the same as before, with the suffix .mp4.

    A file outside the data root goes to ``outside/``; if two would have the same path, the second keeps its old suffix,
    too.

    >>> target_names(['a/x.avi', 'a/x.mkv', '/b/y.MP4'])
    {'a/x.avi': 'a/x.mp4', 'a/x.mkv': 'a/x.mkv.mp4', '/b/y.MP4': 'outside/y.mp4'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        place = PurePosixPath(os.path.normpath(files_of(path)[0]))
        if place.is_absolute() or '..' in place.parts:
            place = PurePosixPath('outside', place.name)
        number, name = 1, str(place.with_suffix('.mp4'))
        while name.lower() in taken:
            name = f'{place}.mp4' if number == 1 else f'{place}.{number}.mp4'
            number += 1
        taken.add(name.lower())
        names[path] = name
    return names


def transcode_all(
    data_root: Path,
    out: Path,
    names: Mapping[str, str],
    options: TranscodeOptions,
    *,
    jobs: int | None = None,
    time_limit: float | None = None,
    force: bool = False,
    packed: Collection[str] = (),
) -> dict[str, Outcome]:
    """Transcodes files; skips those that an earlier run with the same options has done and that have not changed since.

    A file gets its name only when it is complete. Files that cannot be read are tried again by the next run.

    Args:
        data_root: Folder that the paths are relative to.
        out: The new folder.
        names: Path of each file -> its path in the new folder.
        options: How to write files.
        jobs: Processes; defaults to one per core.
        time_limit: Seconds for one file; None for no limit.
        force: Whether to write all files again if an earlier run had other options.
        packed: Files of the new folder that an earlier run has packed in shards, and removed.

    Returns:
        Path of each file -> its outcome.

    Raises:
        MmavError: The folders are the same, an earlier run had other options, or the disk is full.
    """
    _check_apart(data_root, out)
    unrecorded = _check_targets(data_root, out, names)
    settings = options.to_dict()
    before, _ = read_journal(out / JOURNAL)
    if before is not None and before != settings and not force:
        different = [f'{k} {before.get(k)!r}, now {v!r}' for k, v in settings.items() if before.get(k) != v]
        raise MmavError(
            f'{out} was written with other options ({"; ".join(different)}); give another folder, or --force to write '
            'all files again'
        )
    outcomes: dict[str, Outcome] = {}
    with Journal(out / JOURNAL, settings) as journal:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        (out / UNFINISHED).mkdir()
        for entry in journal.entries:
            path = entry['path']
            if path in names and entry['stamp'] == file_stamp(join_path(str(data_root), path)):
                outcome = Outcome(*entry['outcome'])
                target = out / names[path]
                there = target.is_file() or names[path] in packed
                if outcome.error is None and entry['name'] == names[path] and there:
                    outcomes[path] = outcome
        waiting = [path for path in names if path not in outcomes]
        with program(PROGRAM):
            for name in (os.path.join(out, names[path]) for path in waiting):
                if name in unrecorded:
                    adopt(name)
        work = functools.partial(_transcode, str(data_root), str(out), options)
        tasks = [(path, names[path]) for path in waiting]
        for index, result in run_parallel(
            work, tasks, jobs=jobs, time_limit=time_limit, label='transcoding', done_before=len(outcomes)
        ):
            path = waiting[index]
            outcomes[path] = Outcome(error=f'decoding it {result.reason}') if isinstance(result, Lost) else result
            stamp = file_stamp(join_path(str(data_root), path))
            journal.add(dict(path=path, name=names[path], stamp=stamp, outcome=outcomes[path]))
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return {path: outcomes[path] for path in names}


def _check_apart(data_root: Path, out: Path) -> None:
    if out.resolve() == data_root.resolve() or same_file(out, data_root):
        raise MmavError(f'the new files need a folder of their own, not {out}')


def _check_targets(data_root: Path, out: Path, names: Mapping[str, str]) -> set[str]:
    """Refuses to overwrite a source, also through links, or the user's files.

    Returns:
        The targets that a version without records wrote, according to the journal and their sizes.
    """
    targets = [os.path.join(out, name) for name in names.values()]
    sources = {_identity(os.path.join(data_root, file)): file for path in names for file in files_of(path)}
    for target in targets:
        identity = _identity(target)
        if identity is not None and identity in sources:
            raise OutputError(f"'{target}' is the source '{sources[identity]}' itself: give another folder")
    sizes: dict[str, int] = {}
    for entry in read_journal(out / JOURNAL)[1]:
        sizes[os.path.join(out, entry['name'])] = Outcome(*entry['outcome']).size_after
    folders = {os.path.dirname(target) for target in targets}
    recorded = {os.path.join(folder, entry.name) for folder in folders for entry in read_record(Path(folder))}
    unrecorded = {
        target
        for target in {*targets} & (sizes.keys() - recorded)
        if os.path.isfile(target) and os.path.getsize(target) == sizes[target]
    }
    with program(PROGRAM):
        check_all_own((target for target in targets if target not in unrecorded), remedy='give another folder')
    return unrecorded


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_lists(data_root: Path, out: Path, manifests: Sequence[ManifestCheck]) -> None:
    """Checks, before the work, that :func:`write_lists` can write its files.

    Raises:
        OutputError: It cannot, or would replace a file that it did not write.
    """
    _check_apart(data_root, out)
    names = [Path(manifest.path).name for manifest in manifests]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise OutputError(f"two manifests are named '{twice}' and would replace each other: give one at a time")
    copied = [path.name for path in lists_of(data_root)]
    given: list[str | Path] = [*(manifest.path for manifest in manifests), *lists_of(data_root)]
    check_folder(out, [*names, *copied, FAILED], inputs=given)


def lists_of(data_root: Path) -> list[Path]:
    """The lists of classes of a dataset."""
    return [path for pattern in LISTS for path in sorted(data_root.glob(pattern))]


def write_lists(
    data_root: Path,
    out: Path,
    manifests: Sequence[ManifestCheck],
    names: Mapping[str, str],
    outcomes: Mapping[str, Any],
) -> dict[str, tuple[int, int]]:
    """Writes the manifests with the new paths, without files that cannot be read, and copies the class lists.

    Returns:
        Name of each manifest -> rows written, rows left out.
    """
    counts = {}
    for manifest in manifests:
        # The files of a pair become one.
        columns = find_columns(manifest.path, manifest.header)
        old = sorted(columns[name] for name in ('path', *PAIR, *RATES) if name in columns)
        kept = [k for k in range(len(manifest.header)) if k not in old[1:]]
        rows = []
        for cells, clip in zip(manifest.rows, manifest.clips, strict=True):
            if outcomes[clip.path].error is None:
                rows.append([names[clip.path] if k == old[0] else cells[k] for k in kept])
        name = Path(manifest.path).name
        header = ['path' if k == old[0] else manifest.header[k] for k in kept]
        write_csv(out / name, [header, *rows])
        counts[name] = (len(rows), len(manifest.rows) - len(rows))
    for path in lists_of(data_root):
        write_output(out / path.name, path.read_bytes())
    failed = [(path, outcome.error) for path, outcome in outcomes.items() if outcome.error is not None]
    write_csv(out / FAILED, [('path', 'error'), *failed])
    return counts


def _transcode(data_root: str, out: str, options: TranscodeOptions, task: tuple[str, str]) -> Outcome:
    path, name = task
    source, target = join_path(data_root, path), os.path.join(out, name)
    part = os.path.join(out, UNFINISHED, f'{os.getpid()}.mp4')
    try:
        result = transcode(source, part, options)
        sizes = sum(size for _, size, _ in stamps_of(source)), os.path.getsize(part)
        with program(PROGRAM):
            move_output(part, target)
    except MediaError as error:
        free = shutil.disk_usage(out).free
        if free < 1 << 20:
            raise MmavError(f'the disk of {out} is full; free some space, then the same command continues') from error
        return Outcome(error=error.reason)
    return Outcome(None, *sizes, result.seconds, result.damaged)


def totals(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Sums over all files."""
    done = [outcome for outcome in outcomes.values() if outcome.error is None]
    return dict(
        files=len(outcomes),
        failed=len(outcomes) - len(done),
        damaged=sum(outcome.damaged > 0 for outcome in done),
        hours=round(sum(outcome.seconds for outcome in done) / 3600, 4),
        bytes_before=sum(outcome.size_before for outcome in done),
        bytes_after=sum(outcome.size_after for outcome in done),
    )
