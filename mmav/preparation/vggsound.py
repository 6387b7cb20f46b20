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
from mmav.preparation.annotations import (
    MALFORMED,
    SPLITS,
    Annotation,
    BadRow,
    Clip,
    read_labels,
    read_text,
    whole_seconds,
    youtube_id,
)

SECONDS = 10
# <id>_<start> as in the official test.csv, with the end, and in milliseconds: all are in use for downloaded clips
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

    A row has one of the two official forms: ``id,start,label,train`` of ``vggsound.csv``, or ``id_000030.mp4,label`` of
    ``train.csv`` and ``test.csv``, whose split is that of the file's name. Neither has a header, and a label that holds
    a comma is in quotes.

    Args:
        paths: One or more files.
        classes: Class list in another order, or of some of the classes, see :func:`read_class_order`.
        split: Of rows of the second form, where the file's name does not tell.

    Raises:
        ManifestError: A file cannot be read, or no row of it can be used.
    """
    official = read_labels('vggsound')
    names = official if classes is None else read_class_order(classes, official)
    annotation = Annotation('VGGSound', dict(label=names), patterns=PATTERNS, fields=FIELDS)
    annotation.folder_labels = set(official)
    if len(names) < len(official):
        annotation.notes.append(f'{classes}: {len(names)} of the {len(official)} classes, rows of others are left out')
    for path in paths:
        of_file = split or Path(path).stem

        def parse(source: str, line: int, cells: list[str], of_file: str = of_file) -> Clip:
            if len(cells) == 4:
                video, start, label, of_row = cells
                if of_row not in SPLITS:
                    raise BadRow(MALFORMED, f'split {of_row!r} is neither train nor test')
            elif len(cells) == 2:
                if of_file not in SPLITS:
                    raise ManifestError(
                        f"{source}: line {line} names a file and a label, so the split must come from the list's name: "
                        'call it train.csv or test.csv, or give --split'
                    )
                video, start, label, of_row = *_parts(cells[0], of_file), cells[1], of_file
            else:
                raise BadRow(MALFORMED, f'{len(cells)} cells, 4 or 2 are right; a label with a comma is in quotes')
            youtube_id(video, of_row)
            begin = whole_seconds(start, of_row)
            annotation.check_label('label', label, of_row)
            return Clip(of_row, source, line, video, video, begin, begin + SECONDS, (label,))

        annotation.read(path, parse)
    annotation.remove_duplicates()
    return annotation


def read_class_order(path: str, official: Sequence[str]) -> tuple[str, ...]:
    """Reads classes from a file with one name a line, or from VGGSound's ``stat.csv`` (``label,count,group``).

    Raises:
        ManifestError: A name is none of VGGSound's, or stands twice.
    """
    names: dict[str, int] = {}
    for line, text in enumerate(read_text(path).split('\n'), start=1):
        name = text.strip()
        if not name:
            continue
        if name not in official:
            cells = next(csv.reader([name]))
            name = cells[0].strip() if len(cells) in (1, 3) else name
        if name not in official:
            raise ManifestError(f'{path}: line {line}: VGGSound has no class {name!r}{did_you_mean(name, official)}')
        if name in names:
            raise ManifestError(f'{path}: line {line}: class {name!r} stands already in line {names[name]}')
        names[name] = line
    if not names:
        raise ManifestError(f'{path}: no class; write one name a line')
    return tuple(names)


def _parts(name: str, split: str) -> tuple[str, str]:
    found = re.fullmatch(r'(.{11})_(\d+)(\.\w+)?', name, re.ASCII)
    if not found:
        raise BadRow(MALFORMED, f'{name!r} is not of the form <YouTube id>_<start>.mp4', split)
    return found[1], found[2]
