"""MUSIC and MUSIC-21: videos of people who play instruments, alone or in pairs (Zhao et al. 2018, 2019).

Source: roudimit/MUSIC_dataset: JSON files with ``videos``, instrument -> YouTube ids; that of duets has two, separated
by a space, in place of one. No split is published, so one is made here, by video.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmav.datasets.media import open_stream
from mmav.errors import ManifestError, MediaError, MmavError
from mmav.files import read_text
from mmav.parallel import Lost, run_parallel
from mmav.preparation.annotations import DUPLICATE, AnnotatedClip, Annotation, BadRow, Row, youtube_id
from mmav.preparation.clip_files import ClipFolder
from mmav.preparation.clip_matching import Matched

SPLITS = ('train', 'val', 'test')
UNREADABLE = 'file that cannot be read'
# Shares of each class, or of each pair of instruments, for validation and for test.
SHARES = (0.1, 0.2)


def read_music21(
    solo: Sequence[str],
    duet: Sequence[str] = (),
    *,
    shares: tuple[float, float] = SHARES,
    seconds: float | None = None,
    most: int | None = None,
    jobs: int | None = None,
) -> Annotation:
    """Reads the lists of videos, and splits them.

    Of each class the videos are ordered by a checksum of their id, and the first ones are for test, the next ones for
    validation. So the split does not depend on the order of the lists, nor on which videos there still are.

    Args:
        solo: Lists of videos of one instrument.
        duet: Lists of videos of two. With them clips have several labels, ``violin|flute``, the form of
            ``AVDataset(multi_label=True)``.
        shares: For validation and test; a class of three videos or more has one in each whose share is above 0.
        seconds: Cuts each video into parts of so many seconds, one after the other; the rest at its end is left out. A
            shorter video stays whole. None for whole videos.
        most: How many parts of a video are taken at most, spread evenly over it.
        jobs: Processes that measure the videos' lengths; defaults to one per core.

    Raises:
        ManifestError: A list cannot be read, or none of its videos can be used.
        MmavError: A share, ``seconds`` or ``most`` is impossible, or has no effect.
    """
    _check(shares, seconds, most)
    videos = [(path, list(_videos(path, pairs))) for paths, pairs in ((solo, False), (duet, True)) for path in paths]
    names = sorted({name for _, rows in videos for instruments, _ in rows for name in instruments})
    annotation = Annotation(
        'MUSIC',
        dict(label=names),
        patterns=('{id}',),
        fields=('id', 'label'),
        segments=seconds is not None,
        splits=[split for split, share in zip(SPLITS, (1, *shares), strict=True) if share > 0],
    )
    annotation.id_column, annotation.is_whole = None, True
    part_of = dict(_split([row for _, rows in videos for row in rows], shares))
    seen: dict[str, tuple[str, tuple[str, ...]]] = {}
    for path, rows in videos:
        annotation.sources.append(str(path))
        for number, (instruments, name) in enumerate(rows, start=1):
            _add(annotation, Row(Path(path).name, number, split=part_of[name]), name, instruments, seen)
    if not annotation.clips:
        raise ManifestError(f'{", ".join(annotation.sources)}: none of the videos can be used')
    shown = ' and '.join(f'{share:.0%} for {part}' for part, share in zip(('val', 'test'), shares, strict=True))
    annotation.notes.append(f'no split is published: of each class {shown}, by a checksum of the video ids')
    if duet:
        annotation.notes.append('clips have one or several labels: give the dataset multi_label=True')
    if seconds is not None:
        annotation.refine = partial(_cut, annotation, seconds, most, jobs)
    return annotation


def cut_times(duration: float, seconds: float, most: int | None = None) -> list[tuple[float, float]]:
    """Starts and ends of the parts of a video, in seconds.

    >>> cut_times(35.0, 10.0)
    [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]
    >>> cut_times(95.0, 10.0, most=2)
    [(20.0, 30.0), (60.0, 70.0)]
    >>> cut_times(7.5, 10.0)
    [(0.0, 7.5)]
    """
    number = int(duration / seconds + 1e-6)
    if number < 1:
        return [(0.0, duration)]
    chosen = range(number) if most is None or number <= most else [int((k + 0.5) * number / most) for k in range(most)]
    return [(k * seconds, (k + 1) * seconds) for k in chosen]


def _check(shares: tuple[float, float], seconds: float | None, most: int | None) -> None:
    if not all(0 <= share < 1 for share in shares) or sum(shares) >= 1:
        raise MmavError(
            f'shares {shares[0]:g} and {shares[1]:g} for val and test: give two, from 0, with a sum below 1'
        )
    if seconds is not None and not seconds > 0:
        raise MmavError(f'--seconds {seconds:g} is not above 0')
    if most is not None and (seconds is None or most < 1):
        why = 'has no effect on whole videos: give --seconds, too' if seconds is None else 'is below 1'
        raise MmavError(f'--most {most} {why}')


def _videos(path: str, pairs: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """The instruments and the id of each video of a list."""
    try:
        content: Any = json.loads(read_text(path, 'list of videos', remedy='give the official file'))
    except json.JSONDecodeError as error:
        raise ManifestError(f'{path}: line {error.lineno}: not JSON ({error.msg}); give the official file') from error
    groups = content.get('videos') if isinstance(content, dict) else None
    if not isinstance(groups, dict) or not all(isinstance(names, list) for names in groups.values()):
        raise ManifestError(f'{path}: no "videos" with a list of ids for each instrument; give the official file')
    for key, names in groups.items():
        instruments = tuple(sorted(set(key.split())))
        if pairs and len(instruments) < 2:
            raise ManifestError(f'{path}: {key!r} is one instrument: give the list with --solo')
        if not pairs and len(instruments) != 1:
            raise ManifestError(f'{path}: {key!r} is not one instrument: give the list with --duet')
        for name in names:
            yield instruments, str(name)


def _split(rows: Sequence[tuple[tuple[str, ...], str]], shares: tuple[float, float]) -> Iterator[tuple[str, str]]:
    groups: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for instruments, name in rows:
        groups[instruments].add(name)
    for group in groups.values():
        ordered = sorted(group, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        val, test = (max(1, round(share * len(ordered))) if share else 0 for share in shares)
        test = min(test, len(ordered) - 1)  # one is for training, whatever the shares
        val = min(val, len(ordered) - 1 - test)
        for place, name in enumerate(ordered):
            yield name, 'test' if place < test else 'val' if place < test + val else 'train'


def _add(
    annotation: Annotation,
    row: Row,
    name: str,
    instruments: tuple[str, ...],
    seen: dict[str, tuple[str, tuple[str, ...]]],
) -> None:
    """Adds a video, whose row is counted by its place in the list."""
    annotation.rows[row.split] += 1
    try:
        clip = row.clip(youtube_id(name), 0, 1, '|'.join(instruments))
    except BadRow as error:
        annotation.leave_out(error.kind, row.split, f'{row.source}: video {row.line}: {error.text}')
        return
    if name in seen:
        source, others = seen[name]
        also = '' if others == instruments else f', as {" and ".join(others)} and not {" and ".join(instruments)}'
        text = f'{row.source}: video {row.line}: {name} is there already in {source}{also}'
        annotation.leave_out(DUPLICATE, row.split, text)
        return
    seen[name] = row.source, instruments
    annotation.clips.append(clip)


def _cut(
    annotation: Annotation, seconds: float, most: int | None, jobs: int | None, matched: Matched, folder: ClipFolder
) -> None:
    """Replaces each video by its parts."""
    paths = [os.path.join(folder.root, path) for _, path in matched.found]
    lengths: dict[int, float | str] = {}
    for index, found in run_parallel(length_of, paths, jobs=jobs, label='lengths'):
        lengths[index] = f'reading it {found.reason}' if isinstance(found, Lost) else found
    videos, matched.found, short = matched.found, [], 0
    for index, (clip, path) in enumerate(videos):
        length = lengths[index]
        if isinstance(length, str):
            annotation.leave_out(UNREADABLE, clip.split, f'{path}: {length}')
            continue
        short += length < seconds
        for start, end in cut_times(length, seconds, most):
            part: AnnotatedClip = clip._replace(start=start, end=end)
            matched.found.append((part, path))
            if clip in matched.audio:
                matched.audio[part] = matched.audio[clip]
    if not matched.found:
        raise MmavError(f"none of the {len(videos):,} videos in '{folder.root}' can be read: mmav check says why")
    annotation.notes.append(f'{len(matched.found):,} clips of {seconds:g} s of {len(videos):,} videos')
    if short:
        annotation.notes.append(f'{short:,} videos are shorter than {seconds:g} s and stay whole')


def length_of(path: str) -> float | str:
    """Seconds of a media file's content, or why it cannot be read."""
    try:
        with open_stream(path) as reader:
            return round(reader.info.duration, 3)
    except MediaError as error:
        return error.reason
