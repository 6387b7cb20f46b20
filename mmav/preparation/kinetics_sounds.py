"""Kinetics-Sounds: the classes of Kinetics-400 that can be seen and heard, out of Kinetics-400's official lists.

Arandjelovic & Zisserman (2017) name 34 classes, of which "typing" and "patting" are none of Kinetics-400. The other 32
are those of facebookresearch/selavi; some work leaves "strumming guitar" out. The test clips are those of the
validation list.
"""

from __future__ import annotations

from mmav.preparation.annotations import (
    MALFORMED,
    SPLITS,
    Annotation,
    BadRow,
    Clip,
    read_labels,
    whole_seconds,
    youtube_id,
)

NOT_IN_31 = 'strumming guitar'
COLUMNS = ('label', 'youtube_id', 'time_start', 'time_end')
# the first as in the official archives and by the official crawler; a bare id may also be a whole video, so it is last
PATTERNS = ('{id}_{start:06d}_{end:06d}', '{id}_{start}_{end}', '{id}_{start:06d}', '{id}_{start}', '{id}')
FIELDS = ('id', 'start', 'end', 'start_ms', 'end_ms', 'label')
# what the column split may say in a list
_SAYS = dict(train=('train', 'training'), test=('val', 'validate', 'validation', 'test'))


def read_kinetics_sounds(train: str | None = None, test: str | None = None, *, num_classes: int = 32) -> Annotation:
    """Reads Kinetics-400's lists and takes the rows of Kinetics-Sounds.

    Args:
        train: Training list, a CSV file with the columns label, youtube_id, time_start, time_end, in any order, and
            perhaps split.
        test: Validation list.
        num_classes: 32, or 31 without "strumming guitar".

    Raises:
        ManifestError: A file cannot be read, has no such columns, or has no row of these classes.
        ValueError: There is no such number of classes.
    """
    if num_classes not in (31, 32):
        raise ValueError(f'num_classes must be 31 or 32, got {num_classes}')
    names = tuple(name for name in read_labels('kinetics_sounds') if num_classes == 32 or name != NOT_IN_31)
    annotation = Annotation('Kinetics-Sounds', dict(label=names), patterns=PATTERNS, fields=FIELDS)
    for split, path in zip(SPLITS, (train, test), strict=True):
        if path is None:
            annotation.notes.append(f'no {split} list is given (--{split})')
            continue

        def parse(source: str, line: int, cells: list[str], split: str = split) -> Clip | None:
            label, video, start, end, says = cells
            annotation.folder_labels.add(label)  # so that a folder of any class of Kinetics is known as such
            if label not in names:
                return None
            if says and says not in _SAYS[split]:
                raise BadRow(MALFORMED, f'split {says!r} in the list given with --{split}', split)
            youtube_id(video, split)
            begin, stop = whole_seconds(start, split), whole_seconds(end, split)
            if stop <= begin:
                raise BadRow(MALFORMED, f'end {stop} s is not after start {begin} s', split)
            return Clip(split, source, line, video, video, begin, stop, (label,))

        annotation.read(path, parse, COLUMNS, optional=('split',))
    annotation.remove_duplicates()
    return annotation
