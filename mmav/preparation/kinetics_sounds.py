"""Kinetics-Sounds: the classes of Kinetics-400 that can be seen and heard, from Kinetics-400's official lists.

Arandjelovic & Zisserman (2017) name 34 classes, of which "typing" and "patting" are not in Kinetics-400. The other 32
are those of facebookresearch/selavi; some work leaves "strumming guitar" out. The test clips are those of the
validation list.
"""

from __future__ import annotations

from functools import partial

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

NOT_IN_31 = 'strumming guitar'
COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')
# the first is that of the official archives and crawler; a bare id may also be a whole video, so it is the last
PATTERNS = ('{id}_{start:06d}_{end:06d}', '{id}_{start}_{end}', '{id}_{start:06d}', '{id}_{start}', '{id}')
FIELDS = ('id', 'start', 'end', 'start_ms', 'end_ms', 'label')
# what the column split may hold in the list of a split
_SPLIT_NAMES = dict(train=('train', 'training'), test=('val', 'validate', 'validation', 'test'))


def read_kinetics_sounds(train: str | None = None, test: str | None = None, *, num_classes: int = 32) -> Annotation:
    """Reads Kinetics-400's lists and takes the rows of Kinetics-Sounds.

    Args:
        train: Training list, a CSV file with the columns label, youtube_id, time_start and time_end, in any order, and
            optionally split.
        test: Validation list.
        num_classes: 32, or 31 without "strumming guitar".

    Raises:
        ManifestError: A file cannot be read, has no such columns, or has no row of these classes.
        ValueError: ``num_classes`` is another number.
    """
    if num_classes not in (31, 32):
        raise ValueError(f'num_classes must be 31 or 32, got {num_classes}')
    names = tuple(name for name in read_labels('kinetics_sounds') if num_classes == 32 or name != NOT_IN_31)
    annotation = Annotation('Kinetics-Sounds', dict(label=names), patterns=PATTERNS, fields=FIELDS)
    for split, path in zip(SPLITS, (train, test), strict=True):
        if path is None:
            annotation.notes.append(f'no {split} list is given (--{split})')
        else:
            annotation.read(path, partial(_parse, annotation, split), COLUMNS, optional=('split',))
    annotation.remove_duplicates()
    return annotation


def _parse(annotation: Annotation, split: str, row: Row) -> AnnotatedClip | None:
    label, video, start, end, split_name = row.cells
    annotation.folder_labels.add(label)  # so that a folder of any class of Kinetics is recognised as such
    if label not in annotation.classes['label']:
        return None
    row.split = split
    if split_name and split_name not in _SPLIT_NAMES[split]:
        raise BadRow(f'split {split_name!r} in the list given with --{split}')
    return row.clip(youtube_id(video), whole_seconds(start), whole_seconds(end), label)
