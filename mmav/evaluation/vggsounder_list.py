"""The list of VGGSounder: several labels a clip, and which modality shows each; found in its package, or given."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from mmav.errors import ManifestError, MmavError, did_you_mean
from mmav.files import read_text

PACKAGE = 'vggsounder'
# the list of all clips; `vggsounder.csv` beside it leaves out those with background music
DEFAULT_LIST, CLASS_LIST = 'vggsounder+background-music.csv', 'classes.csv'
FLAGS = ('background_music', 'static_image', 'voice_over')
COLUMNS = ('video_id', 'label', 'modality', *FLAGS)
AUDIBLE, VISIBLE = 1, 2
_MODALITY = dict(A=AUDIBLE, V=VISIBLE, AV=AUDIBLE | VISIBLE)
_BOOL = dict(true=True, false=False)
# subset of the labels -> which of the values of ``shown`` it holds
SUBSETS: dict[str, tuple[int, ...]] = {
    'a': (AUDIBLE, AUDIBLE | VISIBLE),
    'v': (VISIBLE, AUDIBLE | VISIBLE),
    'av': (AUDIBLE | VISIBLE,),
    'a only': (AUDIBLE,),
    'v only': (VISIBLE,),
    'all': (AUDIBLE, VISIBLE, AUDIBLE | VISIBLE),
}
_INSTALL = f'install the lists with pip install {PACKAGE}, or give the csv with --labels'
# <id>_<start>, with the end in seconds or both in milliseconds: the names that prepare-vggsound knows
_NAME = re.compile(r'([\w-]{11})_(\d+)(?:_(\d+))?', re.ASCII)
_SECONDS = 10


@dataclass(frozen=True)
class LabelList:
    """The labels of N clips among C classes.

    Attributes:
        path: Where the list was read.
        ids: Of each clip, ``<YouTube id>_<start in seconds, six digits>``.
        classes: The C names, in the order of the package.
        shown: (N, C) uint8: 0 where a clip does not have a label, else the sum of 1 if the label is audible and 2 if it
            is visible.
        flags: Of :data:`FLAGS`, which clips have it (N,).
        left_out: Ids of further clips, which :meth:`chosen` left out.
    """

    path: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    shown: np.ndarray
    flags: Mapping[str, np.ndarray]
    left_out: frozenset[str] = frozenset()

    def labels_of(self, subset: str) -> np.ndarray:
        """Which labels (N, C) are in one of :data:`SUBSETS`, bool."""
        return np.isin(self.shown, SUBSETS[subset])

    def chosen(self, only: Sequence[str] = (), without: Sequence[str] = ()) -> LabelList:
        """The clips that have all flags of ``only``, and none of ``without``.

        Raises:
            MmavError: A flag is unknown or in both, or no clip is left.
        """
        for flag in (*only, *without):
            if flag not in FLAGS:
                raise MmavError(f'no flag {flag!r}, only {", ".join(FLAGS)}{did_you_mean(flag, FLAGS)}')
            if flag in only and flag in without:
                raise MmavError(f'{flag} cannot be both asked for and left out')
        kept = np.ones(len(self.ids), dtype=bool)
        for flag in only:
            kept &= self.flags[flag]
        for flag in without:
            kept &= ~self.flags[flag]
        if not kept.any():
            told = ' and '.join([*only, *(f'no {flag}' for flag in without)])
            raise MmavError(f"'{self.path}' has no clip with {told}")
        ids = tuple(name for name, keep in zip(self.ids, kept, strict=True) if keep)
        flags = {name: each[kept] for name, each in self.flags.items()}
        left_out = self.left_out | (set(self.ids) - set(ids))
        return LabelList(self.path, ids, self.classes, self.shown[kept], flags, left_out)


def find_list() -> Path:
    """The list of all clips in the installed package, which is not imported.

    Raises:
        MmavError: The package is not installed, or has no such list.
    """
    spec = importlib.util.find_spec(PACKAGE)
    folders = [Path(folder, 'data') for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / DEFAULT_LIST).is_file():
            return folder / DEFAULT_LIST
    if folders:
        raise MmavError(f"'{folders[0]}' has no {DEFAULT_LIST}: give the csv with --labels")
    raise MmavError(f'the package {PACKAGE} is not installed: {_INSTALL}')


def read_list(path: str | Path | None = None) -> LabelList:
    """Reads a list: rows of ``video_id,label,modality,background_music,static_image,voice_over``, a label each.

    As in the package, ``modality`` is A, V or AV. The classes are those of ``classes.csv`` beside the list (column
    ``display_name``), in its order; of a list without it those that its rows name, sorted.

    Args:
        path: The csv; None for :func:`find_list`.

    Raises:
        ManifestError: A file is missing or wrong, with the line.
        MmavError: See :func:`find_list`.
    """
    path = find_list() if path is None else Path(path).expanduser()
    rows = _rows(path, COLUMNS)
    beside = path.with_name(CLASS_LIST)
    if beside.is_file():
        classes = tuple(dict.fromkeys(row['display_name'] for _, row in _rows(beside, ('display_name',))))
    else:
        classes = tuple(sorted({row['label'] for _, row in rows}))
    column, place_of, lines = {name: k for k, name in enumerate(classes)}, dict[str, int](), list[int]()
    flags: dict[str, list[bool]] = {flag: [] for flag in FLAGS}
    entries: dict[tuple[int, int], int] = {}
    for line, row in rows:
        name, label, where = row['video_id'], row['label'], f'{path}: line {line}'
        if clip_id(name) != name:
            raise ManifestError(f'{where}: {name!r} is not of the form <YouTube id>_<start, six digits>')
        if label not in column:
            raise ManifestError(f'{where}: {CLASS_LIST} has no class {label!r}{did_you_mean(label, classes)}')
        if row['modality'] not in _MODALITY:
            raise ManifestError(f'{where}: modality {row["modality"]!r} is none of {", ".join(_MODALITY)}')
        told = {flag: _BOOL.get(row[flag].lower()) for flag in FLAGS}
        for flag, value in told.items():
            if value is None:
                raise ManifestError(f'{where}: {flag} {row[flag]!r} is neither True nor False')
        if name not in place_of:
            place_of[name] = len(place_of)
            lines.append(line)
            for flag in FLAGS:
                flags[flag].append(bool(told[flag]))
        place = place_of[name]
        for flag in FLAGS:
            if flags[flag][place] != told[flag]:
                raise ManifestError(f'{where}: {name} has {flag}={told[flag]}, but not in line {lines[place]}')
        if (place, column[label]) in entries:
            raise ManifestError(f'{where}: {name} has the label {label!r} already')
        entries[place, column[label]] = _MODALITY[row['modality']]
    shown = np.zeros((len(place_of), len(classes)), dtype=np.uint8)
    for (place, k), bits in entries.items():
        shown[place, k] = bits
    return LabelList(str(path), tuple(place_of), classes, shown, {flag: np.array(flags[flag]) for flag in FLAGS})


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Lines and rows of a csv that has these columns.

    Raises:
        ManifestError: It cannot be read, or lacks a column or all rows.
    """
    text = read_text(str(path), 'list of VGGSounder', remedy=_INSTALL)
    reader = csv.DictReader(text.splitlines())
    for name in columns:
        if name not in (reader.fieldnames or ()):
            found = ', '.join(map(repr, reader.fieldnames or ())) or 'nothing'
            raise ManifestError(f'{path}: line 1: no column {name!r}, only {found}; {_INSTALL}')
    rows = []
    for row in reader:
        if any(row[name] is None for name in columns):
            raise ManifestError(f'{path}: line {reader.line_num}: too few cells; a label with a comma is in quotes')
        rows.append((reader.line_num, {name: row[name].strip() for name in columns}))
    if not rows:
        raise ManifestError(f'{path}: no row below the header; {_INSTALL}')
    return rows


def clip_id(path: str) -> str | None:
    """The id in the list of a clip's file, by its name; None where the name does not tell it.

    >>> clip_id('clips/---g-f_I2yQ_000001.mp4'), clip_id('---g-f_I2yQ_1_11.mp4'), clip_id('---g-f_I2yQ_1000_11000.mkv')
    ('---g-f_I2yQ_000001', '---g-f_I2yQ_000001', '---g-f_I2yQ_000001')
    """
    # the name of a clip in two files has both, see mmav.datasets.media.PairPath
    names = [PurePath(each.partition(' at ')[0]).stem for each in path.split(' + ')]
    found = next(filter(None, map(_NAME.fullmatch, names)), None)
    if not found:
        return None
    start = int(found[2])
    if found[3] is not None:
        length = int(found[3]) - start
        if length not in (_SECONDS, 1000 * _SECONDS):
            return None
        start = start if length == _SECONDS else start // 1000
    return f'{found[1]}_{start:06d}'
