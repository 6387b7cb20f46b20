"""A data set written anew for fast training: every clip of its manifests transcoded, its lists beside them."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmav.datasets.checking import ManifestCheck, file_stamp, write_csv
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.errors import MediaError, MmavError
from mmav.parallel import Journal, read_settings, run_parallel

JOURNAL = 'prepare_journal.jsonl'
UNFINISHED = '.unfinished'
# Lists of classes and of tail classes go with a data set; what other tools report does not.
LISTS = ('*.txt', 'EPIC_100_tail_*.csv')


class Outcome(NamedTuple):
    """What became of a file: sizes in bytes, its length in seconds, or why it cannot be read."""

    error: str | None = None
    size_before: int = 0
    size_after: int = 0
    seconds: float = 0.0
    damaged: int = 0


def target_names(paths: Sequence[str]) -> dict[str, str]:
    """Where files go below the new folder: where they were, with the suffix .mp4.

    A file outside the data root goes into ``outside/``; of two that would meet, the second keeps its old suffix, too.

    >>> target_names(['a/x.avi', 'a/x.mkv', '/b/y.MP4'])
    {'a/x.avi': 'a/x.mp4', 'a/x.mkv': 'a/x.mkv.mp4', '/b/y.MP4': 'outside/y.mp4'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(paths):
        place = PurePosixPath(os.path.normpath(path))
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
    force: bool = False,
) -> dict[str, Outcome]:
    """Transcodes files; what an earlier run with the same options has done, and has not changed since, is left alone.

    A file appears under its name only when it is whole. What cannot be read is tried again by the next run.

    Args:
        data_root: Folder that the paths are relative to.
        out: The new folder.
        names: Path of each file -> its path below the new folder.
        options: How files are written.
        jobs: Processes; None for one a core.
        force: Write all anew where an earlier run had other options.

    Returns:
        Path of each file -> what became of it.

    Raises:
        MmavError: The folders are the same, an earlier run had other options, or the disk is full.
    """
    if out.resolve() == data_root.resolve():
        raise MmavError(f'the new files need a folder of their own, not {out}')
    settings = options.to_dict()
    before = read_settings(out / JOURNAL)
    if before is not None and before != settings and not force:
        different = [f'{k} {before.get(k)!r}, now {v!r}' for k, v in settings.items() if before.get(k) != v]
        raise MmavError(
            f'{out} was written with other options ({"; ".join(different)}); give another folder, or --force to write '
            'all files anew'
        )
    outcomes: dict[str, Outcome] = {}
    with Journal(out / JOURNAL, settings) as journal:
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)
        (out / UNFINISHED).mkdir()
        for entry in journal.entries:
            path = entry['path']
            if path in names and entry['stamp'] == file_stamp(os.path.join(data_root, path)):
                outcome = Outcome(*entry['outcome'])
                target = out / names[path]
                if outcome.error is None and entry['name'] == names[path] and target.is_file():
                    outcomes[path] = outcome
        waiting = [path for path in names if path not in outcomes]
        work = functools.partial(_transcode, str(data_root), str(out), options)
        tasks = [(path, names[path]) for path in waiting]
        for index, result in run_parallel(work, tasks, jobs=jobs, label='transcoding', done_before=len(outcomes)):
            path = waiting[index]
            outcomes[path] = Outcome(error='decoding it kills the process') if result is None else result
            stamp = file_stamp(os.path.join(data_root, path))
            journal.add(dict(path=path, name=names[path], stamp=stamp, outcome=outcomes[path]))
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)
    return {path: outcomes[path] for path in names}


def write_lists(
    data_root: Path,
    out: Path,
    manifests: Sequence[ManifestCheck],
    names: Mapping[str, str],
    outcomes: Mapping[str, Any],
) -> dict[str, tuple[int, int]]:
    """Writes the manifests with the new paths, without rows whose file cannot be read, and copies the class lists.

    Returns:
        Name of each manifest -> rows written, rows left out.
    """
    counts = {}
    for manifest in manifests:
        column = manifest.header.index('path')
        rows = []
        for cells, clip in zip(manifest.rows, manifest.clips, strict=True):
            if outcomes[clip.path].error is None:
                rows.append([*cells[:column], names[clip.path], *cells[column + 1 :]])
        name = Path(manifest.path).name
        write_csv(out / name, manifest.header, rows)
        counts[name] = (len(rows), len(manifest.rows) - len(rows))
    for pattern in LISTS:
        for path in sorted(data_root.glob(pattern)):
            shutil.copyfile(path, out / path.name)
    failed = [(path, outcome.error) for path, outcome in outcomes.items() if outcome.error is not None]
    write_csv(out / 'prepare_failed.csv', ('path', 'error'), failed)
    return counts


def _transcode(data_root: str, out: str, options: TranscodeOptions, task: tuple[str, str]) -> Outcome:
    path, name = task
    source, target = os.path.join(data_root, path), os.path.join(out, name)
    part = os.path.join(out, UNFINISHED, f'{os.getpid()}.mp4')
    try:
        result = transcode(source, part, options)
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        os.makedirs(os.path.dirname(target), exist_ok=True)
        sizes = os.path.getsize(source), os.path.getsize(part)
        os.replace(part, target)
    except MediaError as error:
        free = shutil.disk_usage(out).free
        if free < 1 << 20:
            raise MmavError(f'the disk of {out} is full; make room, then the same command goes on') from error
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
