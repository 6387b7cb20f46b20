"""Lists of clips in a folder for each class, as UCF101, HMDB51 and their kind have them.

A row of such a list is ``Archery/v_Archery_g08_c01.avi 3`` or without the number, and ``classInd.txt`` has rows ``3
Archery`` (Soomro et al. 2012, ucfTrainTestlist). HMDB51 (Kuehne et al. 2011) has a file for each class and split,
``brush_hair_test_split1.txt``, with rows ``NAME.avi 1``: 1 for training, 2 for testing, 0 for neither.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from mmav.class_names import read_classes
from mmav.datasets.media import open_stream
from mmav.errors import ManifestError, MediaError, MmavError
from mmav.files import read_text
from mmav.preparation.annotations import NO_SOUND, UNKNOWN_LABEL, AnnotatedClip, Annotation, BadRow, Row
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder
from mmav.preparation.clip_matching import Matched

SPLITS = ('train', 'val', 'test')
NUMBERS = (1, 2, 3)
WITH_SOUND = ('clips', 'classes')
CLASS_FILE = 'classInd.txt'
_HMDB = '_test_split'
_HMDB_PARTS = {'1': 'train', '2': 'test'}
# a class has sound if this share of its clips has: of UCF101's, all or almost none of the clips of a class
_MOST = 0.5


def read_ucf101(folder: str, *, number: int = 1, with_sound: str | None = None) -> Annotation:
    """Reads one of the three official splits of UCF101 or HMDB51, whichever the folder has.

    Args:
        folder: ``ucfTrainTestlist``, or HMDB51's ``testTrainMulti_7030_splits``.
        number: Which of the three splits.
        with_sound: See :func:`read_class_folders`.

    Raises:
        ManifestError: A list is missing, cannot be read, or none of its rows can be used.
        MmavError: There is no such split.
    """
    if number not in NUMBERS:
        raise MmavError(f'--split {number}: there are splits 1 to {NUMBERS[-1]}')
    root = Path(folder).expanduser()
    hmdb = sorted(root.glob(f'*{_HMDB}{number}.txt'))
    if hmdb:
        return _read_hmdb51(hmdb, with_sound)
    lists = {split: root / f'{split}list{number:02d}.txt' for split in ('train', 'test')}
    lost = [path.name for path in (root / CLASS_FILE, *lists.values()) if not path.is_file()]
    if lost:
        raise ManifestError(
            f"{' and '.join(lost)} {'are' if len(lost) > 1 else 'is'} not in '{folder}'; give the official lists "
            '(ucfTrainTestlist of UCF101, testTrainMulti_7030_splits of HMDB51), or your own with --train and --test'
        )
    given = {split: [str(path)] for split, path in lists.items()}
    return read_class_folders(given, classes=str(root / CLASS_FILE), with_sound=with_sound, dataset='UCF101')


def read_class_folders(
    lists: Mapping[str, Sequence[str]],
    *,
    classes: str | None = None,
    with_sound: str | None = None,
    dataset: str = 'class folders',
) -> Annotation:
    """Reads lists with rows ``CLASS/FILE`` or ``CLASS/FILE NUMBER``; more folders may stand before the class.

    Args:
        lists: Split -> its files.
        classes: Class list: rows ``NUMBER NAME``, counted from 1, or one name a line. None for all classes of the
            lists, sorted; numbers of rows are then not compared.
        with_sound: ``'clips'`` leaves out clips without an audio track, ``'classes'`` also the classes of which fewer
            than half of the clips have one. None for all clips; audio that is not there counts as absent.
        dataset: Name for messages.

    Raises:
        ManifestError: A file cannot be read, or none of its rows can be used.
        MmavError: ``with_sound`` is unknown.
    """
    if with_sound is not None and with_sound not in WITH_SOUND:
        raise MmavError(f'with_sound={with_sound!r} is none of {", ".join(WITH_SOUND)}')
    names = _folders_of(lists) if classes is None else read_class_numbers(classes)
    annotation = _annotation(dataset, names, [split for split in SPLITS if lists.get(split)])
    for split in annotation.splits:
        for path in lists[split]:
            annotation.read(path, partial(_parse, annotation, split, classes is not None), delimiter='\t')
    _finish(annotation, with_sound)
    return annotation


def read_class_numbers(path: str) -> tuple[str, ...]:
    """Reads a class list with rows ``NUMBER NAME``, in the order of their numbers, or with one name a line.

    Raises:
        ManifestError: It cannot be read, the numbers are not 1, 2, 3 ..., or a name occurs twice.
    """
    text = read_text(path, 'class list', remedy='give the official file')
    lines = [line.split(maxsplit=1) for line in text.split('\n') if line.strip()]
    if not all(len(cells) == 2 and cells[0].isdecimal() for cells in lines):
        return read_classes(path)
    numbers = [int(number) for number, _ in lines]
    if sorted(numbers) != list(range(1, len(lines) + 1)):
        raise ManifestError(f'{path}: the {len(lines)} numbers are not 1 to {len(lines)}; give the official file')
    names = tuple(name.strip() for _, (_, name) in sorted(zip(numbers, lines, strict=True)))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ManifestError(f'{path}: the class {twice[0]!r} occurs twice')
    return names


def _annotation(dataset: str, names: Sequence[str], splits: Sequence[str]) -> Annotation:
    annotation = Annotation(
        dataset,
        dict(label=names),
        patterns=('{label}/{id}', '{id}'),
        fields=('id', 'label'),
        suffix='.avi',
        splits=splits,
    )
    annotation.is_whole = True
    return annotation


class _Entry(NamedTuple):
    """A row of a list: folder of the class, name of the file without suffix, and number of the class or ''."""

    folder: str
    name: str
    number: str


def _entry(text: str) -> _Entry:
    """Reads a row.

    >>> _entry('UCF-101/YoYo/v_YoYo_g01_c02.avi 101')
    _Entry(folder='YoYo', name='v_YoYo_g01_c02', number='101')
    """
    # a space may also be part of a name without a suffix
    parts = re.fullmatch(r'(\S+|.+\.\w{2,4})\s+(\d+)', text, re.ASCII)
    path = PurePosixPath((parts[1] if parts else text).replace('\\', '/'))
    stem = path.stem if path.suffix.lower() in SUFFIXES | AUDIO_SUFFIXES else path.name
    return _Entry(path.parent.name, stem, parts[2] if parts else '')


def _folders_of(lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    paths = [path for split in lists.values() for path in split]
    texts = [read_text(path, 'annotation file', remedy='give the list') for path in paths]
    rows = [_entry(line.strip()) for text in texts for line in text.split('\n') if line.strip()]
    names = tuple(sorted({row.folder for row in rows} - {''}))
    if len(names) < 2:
        found = f'one class, {names[0]!r}' if names else 'no class'
        raise ManifestError(
            f'{", ".join(paths)}: {found}: rows are CLASS/FILE or CLASS/FILE NUMBER; give --classes if not'
        )
    return names


def _parse(annotation: Annotation, split: str, numbered: bool, row: Row) -> AnnotatedClip:
    row.split = split
    entry, names = _entry(row.cells[0]), annotation.classes['label']
    label = entry.folder
    if label not in names and numbered and entry.number:  # the folder is none of a class
        if not 0 < int(entry.number) <= len(names):
            raise BadRow(f'class {entry.number} is not one of 1 to {len(names)}', UNKNOWN_LABEL)
        label = names[int(entry.number) - 1]
    annotation.check_label('label', label)
    if numbered and entry.number and names.index(label) != int(entry.number) - 1:
        raise BadRow(f'class {entry.number}, but {label!r} has number {names.index(label) + 1}', UNKNOWN_LABEL)
    return row.clip(entry.name, 0, 1, label)


def _read_hmdb51(paths: Sequence[Path], with_sound: str | None) -> Annotation:
    names = tuple(path.name.rpartition(_HMDB)[0] for path in paths)
    annotation = _annotation('HMDB51', names, ('train', 'test'))
    for name, path in zip(names, paths, strict=True):
        annotation.read(str(path), partial(_parse_hmdb51, name), delimiter='\t')
    # one for each list
    annotation.notes = (
        ['rows with 0 are for neither training nor testing: they are skipped'] if annotation.notes else []
    )
    annotation.is_whole = False
    _finish(annotation, with_sound)
    return annotation


def _parse_hmdb51(label: str, row: Row) -> AnnotatedClip | None:
    entry = _entry(row.cells[0])
    if entry.number == '0':
        return None
    if entry.number not in _HMDB_PARTS:
        raise BadRow(f'{row.cells[0]!r} does not end in 0, 1 or 2')
    row.split = _HMDB_PARTS[entry.number]
    return row.clip(entry.name, 0, 1, label)


def _finish(annotation: Annotation, with_sound: str | None) -> None:
    annotation.clips = [clip._replace(id=f'{clip.label}/{clip.id}') for clip in annotation.clips]
    annotation.remove_duplicates()
    if with_sound is not None:
        annotation.refine = partial(_keep_sound, annotation, with_sound)


def _keep_sound(annotation: Annotation, what: str, matched: Matched, folder: ClipFolder) -> None:
    """Leaves out clips without sound, and the classes that have hardly any with sound."""
    if matched.audio:
        raise MmavError('--with-sound looks into the clips: leave it out where audio is in files of its own (--audio)')
    reasons = {
        clip: why_silent(os.path.join(folder.root, path))
        for clip, path in tqdm(matched.found, desc='listen', unit='clip', mininterval=0.5)
    }
    names = annotation.classes['label']
    if what == 'classes':
        total = Counter(clip.label for clip in reasons)
        loud = Counter(clip.label for clip, reason in reasons.items() if not reason)
        names = tuple(name for name in names if total[name] and loud[name] >= _MOST * total[name])
        annotation.notes.append(
            f'{len(names)} of {len(annotation.classes["label"])} classes have sound in at least half of their clips; '
            'the others are left out, with their rows'
        )
    kept = [(clip, path) for clip, path in matched.found if not reasons[clip] and clip.label in names]
    if not kept:
        raise MmavError(
            f"none of the {len(matched.found):,} clips in '{folder.root}' has an audio track: leave out --with-sound"
        )
    for clip, path in matched.found:
        if clip.label not in names:
            annotation.left_out[clip.split] += 1
        elif reasons[clip]:
            annotation.leave_out(NO_SOUND, clip.split, f'{path}: {reasons[clip]}')
    gone = [clip for clip, _ in matched.missing if clip.label not in names]
    annotation.left_out.update(clip.split for clip in gone)
    matched.missing = [(clip, why) for clip, why in matched.missing if clip.label in names]
    matched.found = kept
    annotation.classes['label'] = names


def why_silent(path: str) -> str:
    """Why a media file gives no audio: it has no such track, or cannot be read; empty if it has one."""
    try:
        with open_stream(path) as reader:
            return '' if reader.info.has_audio else 'no audio track'
    except MediaError as error:
        return error.reason
