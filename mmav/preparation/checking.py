"""Checks every clip of manifests: a report of defects, and manifests without the clips that cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmav.class_names import read_classes
from mmav.datasets.columns import LABELS, PAIR
from mmav.datasets.manifest import join_path
from mmav.datasets.manifest_table import read_table
from mmav.datasets.media import PairPath
from mmav.datasets.media.pair_path import stamps_of
from mmav.datasets.media.probe import Probe, probe
from mmav.datasets.shards.shard_set import ShardSet
from mmav.errors import ManifestError
from mmav.journal import Journal
from mmav.parallel import Lost, run_parallel
from mmav.preparation.manifests import CLASS_FILES
from mmav.tables import write_csv

# Audio below this level, in dB of full scale, is inaudible: one step of 16-bit samples is -90.
SILENT_DB = -60.0
# A video is frozen if its shrunk frames change by fewer grey levels: encoding alone makes a few.
FROZEN_LEVELS = 10.0
# Tracks and headers may differ by so many seconds: a frame of AAC is 0.02 to 0.06.
TOLERANCE = 0.5

# Defects of a clip, and what they mean.
DEFECTS: dict[str, str] = {
    'missing': 'there is no such file',
    'unreadable': 'nothing in it can be decoded, or decoding it kills the process',
    'timed_out': 'decoding it takes longer than the time limit for a file',
    'cut_off': f'it ends more than {TOLERANCE:g} s earlier than its header or the manifest says',
    'damaged': 'some packets cannot be decoded; the rest can be used',
    'no_picture': 'it has no video track',
    'frozen': 'the video does not move',
    'no_sound': 'it has no audio track',
    'silent': f'the audio never exceeds {SILENT_DB:g} dB of full scale',
    'short_sound': f'the audio starts more than {TOLERANCE:g} s after the video or ends as much before it',
    'short_picture': f'the video starts more than {TOLERANCE:g} s after the audio or ends as much before it',
}
UNUSABLE = ('missing', 'unreadable', 'timed_out')
# Seconds for one clip: a film of two hours is decoded in less.
TIME_LIMIT = 1800.0
USUAL_MANIFESTS = ('train.csv', 'val.csv', 'test.csv')


class ClipSpan(NamedTuple):
    """The file of a row of a manifest, and its span in seconds; None for the file's start or end."""

    path: str
    start: float | None
    end: float | None


@dataclass
class ManifestCheck:
    """The check of a manifest.

    Attributes:
        path: The manifest.
        header: Its columns.
        rows: Its rows as written.
        clips: The clip of each row.
        defects: The defects of each row's clip.
        names: Names of the classes, if the list is beside the manifest.
    """

    path: str
    header: list[str]
    rows: list[list[str]]
    clips: list[ClipSpan]
    defects: list[tuple[str, ...]] = field(default_factory=list)
    names: frozenset[str] = frozenset()

    def count(self) -> dict[str, int]:
        """Defect -> number of rows that have it."""
        found = Counter(defect for defects in self.defects for defect in defects)
        return {defect: found[defect] for defect in DEFECTS}

    def dropped(self, drop: Sequence[str]) -> list[bool]:
        """Whether each row has one of the defects."""
        return [any(defect in drop for defect in defects) for defects in self.defects]

    def share_of_classes(self, drop: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Class -> rows dropped and all rows, the largest share first; a class is a label, or a verb or noun.

        A cell of several classes, separated by ``|``, counts for each of them.
        """
        totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        columns = [name for name in LABELS if name in self.header]
        for row, lost in zip(self.rows, self.dropped(drop), strict=True):
            for column in columns:
                cell = row[self.header.index(column)].strip()
                names = [cell] if cell in self.names else [name.strip() for name in cell.split('|')]
                for name in dict.fromkeys(names):
                    counts = totals[name if column == 'label' else f'{column}: {name}']
                    counts[0] += lost
                    counts[1] += 1
        ordered = sorted(totals.items(), key=lambda item: (-item[1][0] / item[1][1], -item[1][0], item[0]))
        return {name: (lost, total) for name, (lost, total) in ordered}


def manifests_of(root: Path, names: Sequence[str] | None) -> list[Path]:
    """The manifests that are named, or those that a dataset usually has.

    Raises:
        ManifestError: None is named, and there are none.
    """
    found = [root / name for name in names or USUAL_MANIFESTS if names or (root / name).is_file()]
    if not found:
        raise ManifestError(
            f'no manifest in {root}, none of {", ".join(USUAL_MANIFESTS)}; prepare the dataset with its tool in '
            'tools/data first, or name manifests with --manifest'
        )
    return found


def manifests_left(root: Path, checked: Sequence[Path]) -> list[str]:
    """Names of the other manifests of a folder, but for clean ones that an earlier check has written."""
    left = []
    for path in sorted(root.glob('*.csv')):
        if path in checked or path.stem.endswith('_clean'):
            continue
        with open(path, encoding='utf-8-sig', errors='replace', newline='') as file:
            header = {name.strip() for name in file.readline().split(',')}
        # the report of an earlier check has a column for the manifest of each row
        if ('path' in header or header >= set(PAIR)) and header & set(LABELS) and 'manifest' not in header:
            left.append(path.name)
    return left


def read_rows(path: str) -> ManifestCheck:
    """Reads a manifest as it is written; labels are not checked.

    Raises:
        ManifestError: See :func:`mmav.datasets.manifest_table.read_table`; or a span is not two numbers.
    """
    table = read_table(path)
    clips = [ClipSpan(table.clip(line, cells), *table.span(line, cells)) for line, cells in table.rows]
    lists = [Path(path).with_name(name) for name in CLASS_FILES.values()]
    names = frozenset(name for place in lists if place.is_file() for name in read_classes(str(place)))
    return ManifestCheck(path, table.header, [cells for _, cells in table.rows], clips, names=names)


def defects_of(result: Probe, end: float | None = None) -> tuple[str, ...]:
    """What is wrong with a clip, in the order of ``DEFECTS``.

    Args:
        result: Its measures.
        end: Seconds of the file at which the manifest ends it; None for the file's end.
    """
    if result.failure is not None:
        return (result.failure,)
    expected = result.promised if end is None else end
    both = result.has_video and result.has_audio
    late, early = result.sound_start - result.picture_start, result.picture_end - result.sound_end
    found = dict(
        cut_off=result.duration < expected - TOLERANCE,
        damaged=result.damaged > 0,
        no_picture=not result.has_video,
        frozen=result.frames > 1 and result.motion < FROZEN_LEVELS,
        no_sound=not result.has_audio,
        silent=result.has_audio and result.peak_db < SILENT_DB,
        short_sound=both and max(late, early) > TOLERANCE,
        short_picture=both and min(late, early) < -TOLERANCE,
    )
    return tuple(defect for defect in DEFECTS if found.get(defect))


def check_clips(
    data_root: str,
    clips: Iterable[ClipSpan],
    journal: Journal,
    *,
    jobs: int | None = None,
    time_limit: float | None = TIME_LIMIT,
    shards: ShardSet | None = None,
) -> dict[ClipSpan, Probe]:
    """Probes clips, each once; skips those that the journal knows and that have not changed since.

    Each is read in another process, so that one that kills it, or takes too long, affects no other.

    Args:
        data_root: Folder that paths are relative to.
        clips: The clips.
        journal: Results of earlier runs; new ones are added.
        jobs: Processes; defaults to one per core.
        time_limit: Seconds for one clip; None for no limit. With a higher limit, clips that took too long are tried
            again.
        shards: Where the clips are, if they are packed.
    """

    def place(path: str) -> str:
        return shards.member(path) if shards else join_path(data_root, path)

    unique = list(dict.fromkeys(clips))
    stamps = {path: file_stamp(place(path)) for path in dict.fromkeys(clip.path for clip in unique)}
    known = {}
    for entry in journal.entries:
        clip = ClipSpan(*entry['clip'])
        more_time = entry.get('time_limit') is not None and (time_limit is None or time_limit > entry['time_limit'])
        # The journal of an earlier version may lack measures.
        same = entry['probe'].keys() == Probe().to_dict().keys() and stamps.get(clip.path, ()) == entry['stamp']
        if same and not more_time:
            known[clip] = Probe(**entry['probe'])
    waiting = [clip for clip in unique if clip not in known]
    work = [(place(clip.path), clip.start, clip.end) for clip in waiting]
    label, done = 'checking clips', len(unique) - len(waiting)
    for index, result in run_parallel(
        _probe, work, jobs=jobs, time_limit=time_limit, label=label, done_before=done
    ):  # fmt: skip
        clip = waiting[index]
        measured = _lost(result) if isinstance(result, Lost) else result
        known[clip] = measured
        limit = dict(time_limit=time_limit) if measured.failure == 'timed_out' else {}
        journal.add(dict(clip=clip, stamp=stamps[clip.path], probe=measured.to_dict(), **limit))
    return known


def write_report(path: Path, checks: Sequence[ManifestCheck], probes: dict[ClipSpan, Probe]) -> None:
    """Writes a CSV file: a row for each row of each manifest, with its defects and measures."""
    lines = []
    for check in checks:
        label = [check.header.index(name) for name in LABELS if name in check.header]
        for row, clip, defects in zip(check.rows, check.clips, check.defects, strict=True):
            names = ' / '.join(row[k].strip() for k in label)
            measures = probes[clip].to_dict()
            lines.append([Path(check.path).name, *clip, names, ' '.join(defects), *measures.values()])
    header = ['manifest', *ClipSpan._fields, 'label', 'defects', *Probe().to_dict()]
    write_csv(path, [header, *lines])


def write_clean(check: ManifestCheck, path: Path, drop: Sequence[str]) -> int:
    """Writes the manifest without the rows that have one of the defects; returns how many rows are left."""
    kept = [row for row, lost in zip(check.rows, check.dropped(drop), strict=True) if not lost]
    write_csv(path, [check.header, *kept])
    return len(kept)


def _lost(result: Lost) -> Probe:
    return Probe(error=f'decoding it {result.reason}', failure='timed_out' if result.timed_out else 'unreadable')


def _probe(work: tuple[str, float | None, float | None]) -> Probe:
    return probe(*work)


def file_stamp(path: str) -> list[int] | str | None:
    """Size and modification time of a file, to see whether it has changed; None if it cannot be reached.

    For a clip of several files, a checksum of theirs.
    """
    try:
        stamps = stamps_of(path)
    except (OSError, ValueError):
        return None
    return hashlib.sha256(repr(stamps).encode()).hexdigest() if isinstance(path, PairPath) else list(stamps[0][1:])
