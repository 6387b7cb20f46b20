"""AVE: audio-visual events in clips of 10 s of AudioSet, 28 classes (Tian et al. 2018).

Source: the lists of YapengTian/AVE-ECCV18, which come with the clips: ``trainSet.txt``, ``valSet.txt`` and
``testSet.txt`` with rows ``Category&VideoID&Quality&StartTime&EndTime``, in seconds of the clip.

The lists have 3,339, 402 and 402 rows. 45 clips have a row for each of two classes, and 18 of these are in training
and in another split.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from mmav.errors import ManifestError, MmavError
from mmav.files import read_text
from mmav.preparation.annotations import (
    DUPLICATE,
    NOT_LISTED,
    SEVERAL_CLASSES,
    AnnotatedClip,
    Annotation,
    BadRow,
    Problem,
    Row,
    read_labels,
    youtube_id,
)

SECONDS = 10
SPLITS = ('train', 'val', 'test')
LISTS = dict(train='trainSet.txt', val='valSet.txt', test='testSet.txt')
ALL, HEADER = 'Annotations.txt', 'Category&VideoID&Quality&StartTime&EndTime'


def read_ave(folder: str, *, events: bool = False, multi_label: bool = False, official: bool = False) -> Annotation:
    """Reads AVE's lists.

    Args:
        folder: Folder of the lists; one or two of them may be missing. If it has ``Annotations.txt``, too, the lists
            are compared with it.
        events: Whether a clip is the span of its event; else it is the whole 10 s. A row without a span, of which there
            is one, is then left out.
        multi_label: Whether a clip with rows of several classes becomes one row with all of them; else it keeps its
            rows, as in the official lists.
        official: Whether clips that are in training and in another split stay in both, as in the official lists.

    Raises:
        ManifestError: There is no list, or one cannot be read, or none of its rows can be used.
        MmavError: ``events`` and ``multi_label`` together: each class of a clip has a span of its own.
    """
    if events and multi_label:
        raise MmavError('--events cuts a clip to the event of one class: leave it out, or --multi-label')
    root = Path(folder).expanduser()
    if not any((root / name).is_file() for name in LISTS.values()):
        raise ManifestError(f"none of {', '.join(LISTS.values())} is in '{folder}'; give the folder of AVE's lists")
    annotation = Annotation(
        'AVE',
        dict(label=read_labels('ave')),
        patterns=('{id}',),
        fields=('id', 'label'),
        segments=events,
        splits=SPLITS,
    )
    annotation.id_column, annotation.share_files, annotation.is_whole = None, True, True
    for split, name in LISTS.items():
        if (root / name).is_file():
            parse = partial(_parse, annotation, split, events)
            annotation.read(str(root / name), parse, delimiter='&', header=HEADER)
        else:
            annotation.notes.append(f'{name} is not in {folder}: there is no {split} split')
            annotation.is_whole = False
    if (root / ALL).is_file() and annotation.is_whole:
        _compare(annotation, root)
    _leave_out_repeated(annotation, official)
    _tell_several(annotation, multi_label)
    return annotation


def _parse(annotation: Annotation, split: str, events: bool, row: Row) -> AnnotatedClip:
    row.split = split
    if len(row.cells) != 5:
        raise BadRow(f'{len(row.cells)} cells between &, 5 are right: {HEADER}')
    category, video, _, *span = row.cells
    begin, end = (_second(cell) for cell in span)
    times = (begin, end) if events else (0, SECONDS)
    return row.clip(youtube_id(video), *times, annotation.check_label('label', category))


def _second(cell: str) -> int:
    if not re.fullmatch(r'\d+', cell, re.ASCII) or int(cell) > SECONDS:
        raise BadRow(f'{cell!r} is not a second of the clip, 0 to {SECONDS}')
    return int(cell)


def _compare(annotation: Annotation, root: Path) -> None:
    """Reports rows of the file of all annotations that no list has."""
    listed = {line for name in LISTS.values() for line in _lines(root / name)}
    annotation.problems += [Problem(NOT_LISTED, f'{ALL}: {line}') for line in _lines(root / ALL) if line not in listed]


def _lines(path: Path) -> list[str]:
    text = read_text(path, 'annotation file', remedy='give the official file')
    return [line for line in map(str.strip, text.split('\n')) if line and line != HEADER]


def _leave_out_repeated(annotation: Annotation, official: bool) -> None:
    """Leaves out a row that is there already, and clips of training that are in another split.

    The same clip has another class in the other split; a model would be trained on what it is tested on.
    """
    last: dict[str, AnnotatedClip] = {}
    for clip in sorted(annotation.clips, key=lambda clip: SPLITS.index(clip.split)):
        last[clip.id] = clip
    seen: dict[tuple[str, str, str], AnnotatedClip] = {}
    clips, annotation.clips, kept = annotation.clips, [], 0
    for clip in clips:
        other, first = last[clip.id], seen.setdefault((clip.split, clip.id, clip.label), clip)
        where = f'{clip.source}: line {clip.line}: {clip.id}'
        if first is not clip:
            annotation.leave_out(DUPLICATE, clip.split, f'{where} is there already in line {first.line}')
            continue
        if other.split != clip.split:
            kept += 1
            if not official:
                text = (
                    f'{where} is in {other.source}, line {other.line}, too, as {other.label!r} and not {clip.label!r}'
                )
                annotation.leave_out(DUPLICATE, clip.split, text)
                continue
        annotation.clips.append(clip)
    if kept and official:
        annotation.notes.append(
            f'{kept} rows are of clips that are also in a later split, with another class; they are kept, as in the '
            'official lists'
        )
    elif kept:
        annotation.notes.append(f'{kept} rows are of clips in a later split, too: left out, --official keeps them')


def _tell_several(annotation: Annotation, multi_label: bool) -> None:
    """Joins the rows of a clip, or reports that it has several."""
    groups: dict[tuple[str, str], list[AnnotatedClip]] = defaultdict(list)
    for clip in annotation.clips:
        groups[clip.split, clip.id].append(clip)
    several = [group for group in groups.values() if len(group) > 1]
    if not multi_label:
        annotation.problems += [
            Problem(SEVERAL_CLASSES, f'{group[0].id}: {_lines_of(group)}: {" and ".join(clip.label for clip in group)}')
            for group in several
        ]
        return
    joined: list[AnnotatedClip] = []
    for group in groups.values():
        joined.append(group[0]._replace(labels=('|'.join(sorted(clip.label for clip in group)),)))
        annotation.rows[group[0].split] -= len(group) - 1
    annotation.clips = joined
    annotation.notes.append(
        f'{len(several)} clips have several classes: their rows are joined, in the form of AVDataset(multi_label=True)'
    )


def _lines_of(group: Iterable[AnnotatedClip]) -> str:
    return ', '.join(f'{clip.source} line {clip.line}' for clip in group)
