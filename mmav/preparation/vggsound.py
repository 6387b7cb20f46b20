"""VGGSound's official lists: 309 classes, clips of 10 s.

Class names are those of the official ``stat.csv`` (Chen et al. 2020, CC BY 4.0), sorted. Public systems order classes
differently, so check the order before you compare outputs or load a head of another system.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from mmav.errors import ManifestError, did_you_mean
from mmav.files import read_text
from mmav.preparation.annotations import (
    SPLITS,
    AnnotatedClip,
    Annotation,
    BadRow,
    Row,
    read_labels,
    whole_seconds,
    youtube_id,
)

SECONDS = 10
# <id>_<start> as in the official test.csv, with the end, and in milliseconds: all are common names of downloaded clips
PATTERNS = (
    '{id}_{start:06d}',
    '{id}_{start:06d}_{end:06d}',
    '{id}_{start_ms}_{end_ms}',
    '{id}_{start}_{end}',
    '{id}_{start}',
)
FIELDS = ('id', 'start', 'end', 'start_ms', 'end_ms', 'label')


def read_vggsound(paths: Sequence[str], *, classes: str | None = None, split: str | None = None) -> Annotation:
    """Reads VGGSound's lists.

    A row has one of the two official forms: ``id,start,label,train`` in ``vggsound.csv``, or ``id_000030.mp4,label`` in
    ``train.csv`` and ``test.csv``, whose name gives the split. Neither has a header, and a label that holds a comma is
    in quotes.

    Args:
        paths: One or more files.
        classes: Class list in another order, or of some of the classes, see :func:`read_class_order`.
        split: Split of rows of the second form, if the file's name does not give it.

    Raises:
        ManifestError: A file cannot be read, or none of its rows can be used.
    """
    official = read_labels('vggsound')
    names = official if classes is None else read_class_order(classes, official)
    annotation = Annotation('VGGSound', dict(label=names), patterns=PATTERNS, fields=FIELDS)
    annotation.folder_labels = set(official)
    if len(names) < len(official):
        annotation.notes.append(f'{classes}: {len(names)} of the {len(official)} classes, rows of others are left out')

    def parse(row: Row) -> AnnotatedClip:
        if len(row.cells) == 4:
            video, start, label, of_row = row.cells
            if of_row not in SPLITS:
                raise BadRow(f'split {of_row!r} is neither train nor test')
            row.split = of_row
        elif len(row.cells) == 2:
            row.split, label = split or Path(row.source).stem, row.cells[1]
            if row.split not in SPLITS:
                raise ManifestError(
                    f"{row.source}: line {row.line} names a file and a label, so the split must come from the list's "
                    'name: call it train.csv or test.csv, or give --split'
                )
            parts = re.fullmatch(r'(.{11})_(\d+)(\.\w+)?', row.cells[0], re.ASCII)
            if not parts:
                raise BadRow(f'{row.cells[0]!r} is not of the form <YouTube id>_<start>.mp4')
            video, start = parts[1], parts[2]
        else:
            raise BadRow(f'{len(row.cells)} cells, 4 or 2 are right; a label with a comma is in quotes')
        youtube_id(video)
        begin = whole_seconds(start)
        return row.clip(video, begin, begin + SECONDS, annotation.check_label('label', label))

    for path in paths:
        annotation.read(path, parse)
    annotation.remove_duplicates()
    return annotation


def read_class_order(path: str, official: Sequence[str]) -> tuple[str, ...]:
    """Reads classes from a file with one name a line, or from VGGSound's ``stat.csv`` (``label,count,group``).

    Raises:
        ManifestError: A name is not one of VGGSound's, or occurs twice.
    """
    names: dict[str, int] = {}
    for line, text in enumerate(read_text(path, 'class list', remedy='give another --classes').split('\n'), start=1):
        name = text.strip()
        if not name:
            continue
        if name not in official:
            cells = next(csv.reader([name]))
            name = cells[0].strip() if len(cells) in (1, 3) else name
        if name not in official:
            raise ManifestError(f'{path}: line {line}: VGGSound has no class {name!r}{did_you_mean(name, official)}')
        if name in names:
            raise ManifestError(f'{path}: line {line}: class {name!r} is already in line {names[name]}')
        names[name] = line
    if not names:
        raise ManifestError(f'{path}: no class; write one name a line')
    return tuple(names)
