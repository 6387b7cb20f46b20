"""EPIC-Kitchens-100's official lists: segments of long videos, each with one of 97 verbs and one of 300 nouns.

Source: epic-kitchens/epic-kitchens-100-annotations. The official test list has no labels, so the test split here is the
validation list, as in published results. The test list itself gives ``unlabelled.csv``, for predictions that the
challenge measures (:mod:`mmav.evaluation.submission`).
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from mmav.errors import ManifestError
from mmav.preparation.annotations import UNKNOWN_LABEL, AnnotatedClip, Annotation, BadRow, Row
from mmav.preparation.manifests import CLASS_FILES

LISTS = dict(train='EPIC_100_train.csv', test='EPIC_100_validation.csv')
UNLABELLED, TEST_LIST = 'unlabelled', 'EPIC_100_test_timestamps.csv'
CLASS_LISTS = dict(verb='EPIC_100_verb_classes.csv', noun='EPIC_100_noun_classes.csv')
TAILS = ('EPIC_100_tail_verbs.csv', 'EPIC_100_tail_nouns.csv')
COLUMNS = ('narration_id', 'video_id', 'start_timestamp', 'stop_timestamp', 'verb_class', 'noun_class')


def read_epic_kitchens(folder: str) -> Annotation:
    """Reads the lists of a folder; one of training and validation may be missing.

    Args:
        folder: A copy of the official annotation repository.

    Raises:
        ManifestError: A file is missing, cannot be read, has other columns, or none of its rows can be used.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ManifestError(f"no folder '{folder}'; give a copy of epic-kitchens-100-annotations")
    if not any((root / name).exists() for name in LISTS.values()):
        raise ManifestError(f"neither {' nor '.join(LISTS.values())} is in '{folder}'")
    classes = {column: read_classes_by_id(root / name) for column, name in CLASS_LISTS.items()}
    annotation = Annotation(
        'EPIC-Kitchens-100', classes, patterns=('{id}',), fields=('id',), suffix='.MP4', segments=True
    )
    for split, name in LISTS.items():
        if (root / name).exists():
            annotation.read(str(root / name), partial(_parse, annotation, split), COLUMNS)
        else:
            annotation.notes.append(f'{name} is not in {folder}: there is no {split} split')
    annotation.remove_duplicates()
    for name in TAILS:
        if (root / name).exists():
            annotation.copies[name] = (root / name).read_bytes()
        else:
            annotation.notes.append(f'{name} is not in {folder}: configs need it to report tail classes')
    return annotation


def read_epic_kitchens_test(folder: str) -> Annotation:
    """Reads the official test list of a folder, which has no labels.

    It and the class lists are copied beside the manifest: a submission is compared with them.

    Args:
        folder: A copy of the official annotation repository.

    Raises:
        ManifestError: A file is missing, cannot be read, has other columns, or none of its rows can be used.
    """
    root = Path(folder).expanduser()
    if not (root / TEST_LIST).is_file():
        raise ManifestError(f"no {TEST_LIST} in '{folder}'; give a copy of epic-kitchens-100-annotations")
    annotation = Annotation(
        'EPIC-Kitchens-100',
        {},
        patterns=('{id}',),
        fields=('id',),
        suffix='.MP4',
        segments=True,
        splits=(UNLABELLED,),
    )
    annotation.tag = f'_{UNLABELLED}'
    annotation.read(str(root / TEST_LIST), partial(_parse, annotation, UNLABELLED), COLUMNS[:4])
    annotation.remove_duplicates()
    annotation.copies[TEST_LIST] = (root / TEST_LIST).read_bytes()
    for part, name in CLASS_LISTS.items():
        names = read_classes_by_id(root / name)
        annotation.copies[name] = (root / name).read_bytes()
        annotation.copies[CLASS_FILES[part]] = '\n'.join([*names, '']).encode()
    return annotation


def read_classes_by_id(path: str | Path) -> tuple[str, ...]:
    """Reads a class list of EPIC-Kitchens: the column ``key`` in the order of the column ``id``.

    Raises:
        ManifestError: Ids are not 0, 1, 2 ..., or a name occurs twice.
    """
    keys: dict[str, str] = {}

    def parse(row: Row) -> AnnotatedClip:
        number, key = row.cells
        if number in keys or key in keys.values():
            raise ManifestError(f'{path}: line {row.line}: id {number} or name {key!r} is already above')
        keys[number] = key
        return row.clip(number, 0, 1, key)

    Annotation('EPIC-Kitchens-100', {}, patterns=(), fields=()).read(str(path), parse, ('id', 'key'))
    numbers = [str(number) for number in range(len(keys))]
    if set(keys) != set(numbers):
        raise ManifestError(f'{path}: the {len(keys)} ids are not 0 to {len(keys) - 1}; give the official file')
    return tuple(keys[number] for number in numbers)


def parse_timestamp(text: str) -> float:
    """Seconds of a time such as ``00:01:02.50``.

    Raises:
        BadRow: It is not one.

    >>> parse_timestamp('01:01:02.50')
    3662.5
    """
    found = re.fullmatch(r'(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)', text, re.ASCII)
    if not found:
        raise BadRow(f'{text!r} is not a time of the form HH:MM:SS.ss')
    return round(int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]), 3)


def _parse(annotation: Annotation, split: str, row: Row) -> AnnotatedClip:
    row.split = split
    narration, video, start, stop, *ids = row.cells
    if not narration or not video:
        raise BadRow('no narration_id or video_id')
    begin, end = parse_timestamp(start), parse_timestamp(stop)
    labels = []
    for (part, names), cell in zip(annotation.classes.items(), ids, strict=True):  # none in the test list
        if not (cell.isdecimal() and cell.isascii() and int(cell) < len(names)):
            raise BadRow(f'{part}_class {cell!r} is not one of 0 to {len(names) - 1}', UNKNOWN_LABEL)
        labels.append(names[int(cell)])
    return row.clip(narration, begin, end, *labels, video=video)
