"""Segments of long videos, from the lists of any dataset: see :mod:`mmav.preparation.segment_lists` for their forms."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmav.class_names import read_classes
from mmav.errors import ManifestError
from mmav.preparation.annotations import AnnotatedClip, Annotation, BadRow, Row
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES
from mmav.preparation.segment_lists import LABEL, SUBSET, Segment, read_segment_list, read_video_labels

TRAIN, TEST = 'train', 'test'
SUBSETS = dict(train=('train', 'training', 'tr'), test=('val', 'valid', 'validate', 'validation', 'test', 'testing'))
# the second is ActivityNet's
PATTERNS, FIELDS = ('{id}', 'v_{id}'), ('id', 'label')
# and of files that are the segments, cut out
TRIMMED = ('{id}_{start:06d}_{end:06d}', '{id}_{start}_{end}', '{id}_{start_s}_{end_s}', '{id}_{start_ms}_{end_ms}')
TRIMMED_FIELDS = (*FIELDS, 'start', 'end', 'start_ms', 'end_ms', 'start_s', 'end_s')
# a list in which most labels stand once holds sentences and no classes
_TEXT_SHARE, _TEXT_LEAST = 0.5, 20


def read_segments(
    lists: Sequence[str] = (),
    *,
    train: Sequence[str] = (),
    test: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    subsets: Mapping[str, str] | None = None,
    classes: str | None = None,
    video_labels: str | None = None,
    multi_label: bool = False,
    trimmed: bool = False,
) -> Annotation:
    """Reads lists of segments.

    Args:
        lists: Lists that say themselves to which subset a segment or video belongs.
        train: Lists of training segments.
        test: Lists of test segments.
        names: See :func:`mmav.preparation.segment_lists.read_segment_list`.
        subsets: Split -> name of its subset in ``lists``; by default the usual names of training and validation.
        classes: Class list, a name a line; by default all labels that occur, in the order of the alphabet.
        video_labels: A table with the id and the label of each video, in place of labels of the segments.
        multi_label: Whether a segment may have several labels, in rows of its own or separated by ``|``.
        trimmed: Whether files are the segments, cut out, and not the long videos.

    Raises:
        ManifestError: A list cannot be read, its segments have no label or no split, or labels are sentences.
    """
    given = dict(names or {})
    of_video = read_video_labels(video_labels, given.get(LABEL)) if video_labels else None
    if of_video is not None:
        given.pop(LABEL, None)
    patterns, fields = (TRIMMED, TRIMMED_FIELDS) if trimmed else (PATTERNS, FIELDS)
    annotation = Annotation('Segments', {}, patterns=patterns, fields=fields, segments=not trimmed)
    annotation.id_column = None
    annotation.media = SUFFIXES | AUDIO_SUFFIXES
    chosen = read_classes(classes) if classes is not None else None
    reader = _Reader(annotation, of_video, chosen, multi_label=multi_label)
    for split, paths in ((None, lists), (TRAIN, train), (TEST, test)):
        for path in paths:
            found = read_segment_list(path, given, labelled=of_video is None)
            there = Counter(segment.subset for segment in found)
            split_of = _splits_of(path, there, subsets or {}) if split is None else _all_of(path, there, split)
            reader.read(path, found, split_of)
    if multi_label:
        annotation.clips = _merged(annotation.clips)
    seen = Counter(name for clip in annotation.clips for name in _labels(clip.labels[0], multi_label))
    if chosen is None and len(annotation.clips) >= _TEXT_LEAST and len(seen) > _TEXT_SHARE * len(annotation.clips):
        raise ManifestError(
            f'{len(seen):,} different labels of {len(annotation.clips):,} segments, such as {min(seen)!r}, look like '
            'sentences; say which column holds classes with --label, give --classes, or labels of videos with '
            '--video-labels'
        )
    annotation.classes = dict(label=chosen or tuple(sorted(seen)))
    bad = next((name for name in annotation.classes['label'] if '|' in name), None) if multi_label else None
    if bad is not None:
        raise ManifestError(f'class {bad!r} has a |, which separates several labels; rename it')
    annotation.folder_labels = set() if multi_label else set(annotation.classes['label'])
    _tell_conflicts(annotation, multi_label)
    annotation.remove_duplicates()
    return annotation


def seconds_of(text: str) -> float:
    """Seconds of a time: a number, or hours, minutes and seconds with colons.

    Raises:
        BadRow: It is no time.

    >>> seconds_of('12.5'), seconds_of('1:02.5'), seconds_of('01:00:01')
    (12.5, 62.5, 3601.0)
    """
    clock = re.fullmatch(r'(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)', text, re.ASCII)
    if clock:
        return round(3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3]), 3)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise BadRow(f'{text!r} is not a time in seconds')
    return value


class _Reader:
    """Turns the segments of lists into clips of an annotation."""

    def __init__(
        self,
        annotation: Annotation,
        of_video: Mapping[str, str] | None,
        chosen: Sequence[str] | None,
        *,
        multi_label: bool,
    ) -> None:
        self._annotation, self._of_video, self._multi_label = annotation, of_video, multi_label
        self._check = Annotation('', dict(label=chosen), patterns=(), fields=()) if chosen is not None else None

    def read(self, path: str, found: Sequence[Segment], split_of: Mapping[str, str | None]) -> None:
        """Adds the segments of a list.

        Raises:
            ManifestError: None can be used.
        """
        annotation, source = self._annotation, Path(path).name
        before, passed, bad = len(annotation.clips), 0, ''
        for segment in found:
            split = split_of[segment.subset]
            if split is None:
                passed += 1
                continue
            annotation.rows[split] += 1
            try:
                annotation.clips.append(self._clip(segment, Row(source, segment.number, split=split)))
            except BadRow as error:
                bad = bad or f'{segment.number}: {error.text}'
                annotation.leave_out(error.kind, split, f'{source}: {segment.number}: {error.text}')
        if passed:
            others = sorted({name for name in split_of if split_of[name] is None})
            annotation.notes.append(f'{source}: {passed:,} segments of {", ".join(map(repr, others))} are skipped')
        if len(annotation.clips) == before:
            raise ManifestError(f'{path}: none of its {len(found):,} segments can be used; the first, {bad}')
        annotation.sources.append(str(path))

    def _clip(self, segment: Segment, row: Row) -> AnnotatedClip:
        if not segment.video:
            raise BadRow('no video')
        label = segment.label if self._of_video is None else self._of_video.get(segment.video, '')
        labels = _labels(label, self._multi_label)
        if not labels:
            raise BadRow('no label' if self._of_video is None else f'video {segment.video!r} has no label')
        for name in labels:
            if self._check is not None:
                self._check.check_label('label', name)
        start, end = seconds_of(segment.start), seconds_of(segment.end)
        name = f'{segment.video}_{start:.10g}_{end:.10g}'
        return row.clip(name, start, end, '|'.join(labels), video=segment.video)


def _labels(cell: str, multi_label: bool) -> list[str]:
    """The labels of a cell, each once."""
    names = [name.strip() for name in cell.split('|')] if multi_label else [cell.strip()]
    return [name for name in dict.fromkeys(names) if name]


def _all_of(path: str, there: Mapping[str, int], split: str) -> dict[str, str | None]:
    """Subset -> the split of the list.

    Raises:
        ManifestError: A subset is of the other split.
    """
    for name in there:
        other = next((other for other, usual in SUBSETS.items() if name.lower() in usual), split)
        if other != split:
            raise ManifestError(
                f'{path}: it is given with --{split} and has the subset {name!r}; give a list with subsets without '
                f'--{split}'
            )
    return dict.fromkeys(there, split)


def _splits_of(path: str, there: Mapping[str, int], names: Mapping[str, str]) -> dict[str, str | None]:
    """Subset -> its split; None for one that is not used.

    Raises:
        ManifestError: The list tells no subset, or one that is named is not there, or it is unclear which is which.
    """
    if set(there) == {''}:
        raise ManifestError(
            f'{path}: it does not say what is for training; name the column with --{SUBSET}, or give the list with '
            '--train or --test'
        )
    split_of: dict[str, str | None] = dict.fromkeys(there)
    told = ', '.join(f'{name!r} ({number:,})' for name, number in there.items())
    for split, usual in SUBSETS.items():
        mine = [names[split]] if split in names else [name for name in there if name.lower() in usual]
        if split in names and names[split] not in there:
            raise ManifestError(f'{path}: no subset {names[split]!r} (--{split}-subset), only {told}')
        if len(mine) > 1:
            raise ManifestError(f'{path}: several of {told} may be for {split}; say which with --{split}-subset')
        split_of |= {name: split for name in mine if split_of[name] is None}
    if not any(split_of.values()):
        raise ManifestError(f'{path}: none of its subsets {told} is for training or testing; say with --train-subset')
    return split_of


def _merged(clips: Sequence[AnnotatedClip]) -> list[AnnotatedClip]:
    """Clips with all labels of their segment."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for clip in clips:
        labels.setdefault((clip.split, clip.id), {}).update(dict.fromkeys(clip.labels[0].split('|')))
    first = {(clip.split, clip.id): clip for clip in reversed(clips)}
    return [
        clip._replace(labels=('|'.join(labels[clip.split, clip.id]),))
        for clip in clips
        if first[clip.split, clip.id] is clip
    ]


def _tell_conflicts(annotation: Annotation, multi_label: bool) -> None:
    """Notes segments with several labels, and videos that both splits have segments of."""
    labels: dict[tuple[str, str], set[str]] = {}
    videos: dict[str, set[str]] = {}
    for clip in annotation.clips:
        labels.setdefault((clip.split, clip.id), set()).add(clip.labels[0])
        videos.setdefault(clip.split, set()).add(clip.video)
    several = sum(len(each) > 1 for each in labels.values())
    if several:
        annotation.notes.append(
            f'{several:,} segments have several labels, of which the first stays; --multi-label keeps them all'
        )
    joined = sorted({label for each in labels.values() for label in each if '|' in label})
    if joined and not multi_label:
        annotation.notes.append(
            f'{len(joined):,} classes, such as {joined[0]!r}, have a | in their name: if these are several labels, '
            'give --multi-label'
        )
    shared = videos.get(TRAIN, set()) & videos.get(TEST, set())
    if shared:
        annotation.notes.append(
            f'{len(shared):,} videos, such as {min(shared)!r}, have segments in both splits: scores on them say less'
        )
