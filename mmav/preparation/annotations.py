"""Official annotation files of datasets, row by row: clips, and what was left out and why."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmav.class_names import read_classes
from mmav.datasets.columns import near_column
from mmav.errors import ManifestError, did_you_mean

SPLITS = ('train', 'test')
MALFORMED, UNKNOWN_LABEL, DUPLICATE = 'malformed row', 'unknown label', 'duplicate row'
_YOUTUBE_ID = re.compile(r'[\w-]{11}', re.ASCII)


class Clip(NamedTuple):
    """A row of an annotation file.

    Attributes:
        split: 'train' or 'test'.
        source: The annotation file, without its folder.
        line: Line of that file, its first line being line 1.
        id: What the annotation calls the clip.
        video: What names of files are made of: the id of the video that the clip is part of.
        start: Start in seconds of that video.
        end: End in seconds of that video.
        labels: A class name for each class list of the dataset.
    """

    split: str
    source: str
    line: int
    id: str
    video: str
    start: float
    end: float
    labels: tuple[str, ...]

    @property
    def label(self) -> str:
        """All its class names in one text."""
        return ' '.join(self.labels)


class Problem(NamedTuple):
    """Something that a user should know of; ``kind`` groups problems in the report."""

    kind: str
    text: str


class BadRow(Exception):  # never leaves this module: it becomes a Problem
    """A row that cannot be used.

    Args:
        kind: Of the problem.
        text: What is wrong and how to mend it.
        split: Of the row, where that much can be read.
    """

    def __init__(self, kind: str, text: str, split: str = 'unknown') -> None:
        super().__init__(text)
        self.kind, self.text, self.split = kind, text, split


Parse = Callable[[str, int, list[str]], Clip | None]


class Annotation:
    """What the annotation files of a dataset say, and how its files are named.

    Args:
        dataset: Name for messages.
        classes: Column of the manifest -> class names, in the order of their indices.
        patterns: Names of a clip's file without suffix, in Python's format syntax; what is tried first stands first.
        fields: Names that a pattern may use, see :func:`mmav.preparation.clip_files.names_of`.
        suffix: Of the file name that is shown as expected.
        segments: Whether clips are parts of longer files, so that the manifest has their start and end.

    Attributes:
        clips: The rows that can be used, in the order of the files.
        rows: Split -> number of its rows.
        left_out: Split -> number of its rows that cannot be used.
        problems: Why they cannot.
        notes: What else to say.
        sources: The files that were read.
        copies: Files to write beside the manifests, name -> content.
        folder_labels: Class names that folders may bear, also those of a larger dataset that this one is part of.
    """

    def __init__(
        self,
        dataset: str,
        classes: Mapping[str, Sequence[str]],
        *,
        patterns: Sequence[str],
        fields: Sequence[str],
        suffix: str = '.mp4',
        segments: bool = False,
    ) -> None:
        self.dataset, self.suffix, self.segments = dataset, suffix, segments
        self.classes = {column: tuple(names) for column, names in classes.items()}
        self.patterns, self.fields = tuple(patterns), tuple(fields)
        self.clips: list[Clip] = []
        self.rows: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.sources: list[str] = []
        self.copies: dict[str, bytes] = {}
        self.folder_labels = set(self.classes.get('label', ()))
        self._hints: dict[str, str] = {}

    def read(self, path: str, parse: Parse, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
        """Reads one file; its clips, in the order of its lines, come after those of files read before.

        Args:
            path: CSV file, UTF-8. Each line is a row of its own, so that a stray quote spoils one row and not the rest.
            parse: (source, line, cells) -> the clip, or None for a row that is not of this dataset; raises
                :class:`BadRow`.
            columns: Where the file has a header: the columns whose cells ``parse`` gets, in this order.
            optional: More columns; a cell is empty where the file has no such column.

        Raises:
            ManifestError: The file cannot be read, has no such columns, or no row of it can be used.
        """
        lines = read_text(path).split('\n')
        source, first, rows, passed, bad = Path(path).name, 0, 0, 0, ''
        places: list[int | None] = []
        if columns:
            first, places = _find_columns(path, lines[0], columns, optional)
        before = len(self.clips)
        for line, text in enumerate(lines[first:], start=first + 1):
            if not text.strip():
                continue
            rows += 1
            try:
                clip = parse(source, line, _cells(text, places))
                if clip is None:
                    passed += 1
                    continue
                self.rows[clip.split] += 1
                self.clips.append(clip)
            except BadRow as error:
                self.rows[error.split] += 1
                bad = bad or f'line {line}: {error.text}'
                self._leave_out(error.kind, error.split, f'{source}: line {line}: {error.text}')
        if len(self.clips) == before:
            why = f'the first, {bad}' if bad else f'{passed} are of other classes' if passed else 'it is empty'
            raise ManifestError(f'{path}: none of its {rows} rows can be used for {self.dataset}; {why}')
        if passed:
            self.notes.append(f'{source}: {passed:,} rows of other classes are passed over')
        self.sources.append(str(path))

    def remove_duplicates(self) -> None:
        """Leaves out clips that were there before; of a clip in both splits the test row stays.

        Otherwise a model would be trained on clips that it is tested on.
        """
        first: dict[tuple[str, float], Clip] = {}
        for split in reversed(SPLITS):
            for clip in self.clips:
                if clip.split == split:
                    first.setdefault((clip.id, clip.start), clip)
        kept = []
        for clip in self.clips:
            other = first[clip.id, clip.start]
            if other is clip:
                kept.append(clip)
                continue
            what = 'in the test split, too,' if other.split != clip.split else 'there already'
            also = '' if other.labels == clip.labels else f', labelled {other.label!r} and not {clip.label!r}'
            text = f'{clip.source}: line {clip.line}: {clip.id} is {what} in {other.source}, line {other.line}{also}'
            self._leave_out(DUPLICATE, clip.split, text)
        self.clips = kept

    def check_label(self, column: str, label: str, split: str) -> str:
        """The label, if it is in the class list.

        Raises:
            BadRow: It is not.
        """
        if label not in self.classes[column]:
            if label not in self._hints:  # a search through all classes, for each of many rows
                self._hints[label] = did_you_mean(label, self.classes[column])
            text = f'{column} {label!r} is not in the class list{self._hints[label]}'
            raise BadRow(UNKNOWN_LABEL, text, split)
        return label

    def _leave_out(self, kind: str, split: str, text: str) -> None:
        self.left_out[split] += 1
        self.problems.append(Problem(kind, text))


def read_text(path: str | Path) -> str:
    """The text of an annotation file, with ``\\n`` as line end.

    Raises:
        ManifestError: It is missing, or not UTF-8 text.
    """
    try:
        return Path(path).expanduser().read_text(encoding='utf-8-sig')
    except FileNotFoundError:
        raise ManifestError(f'no annotation file {path}') from None
    except UnicodeDecodeError as error:
        raise ManifestError(f'{path}: not UTF-8 text ({error.reason}); save it as UTF-8') from error
    except OSError as error:
        raise ManifestError(f'{path}: cannot be read: {error.strerror}') from error


def read_labels(name: str) -> tuple[str, ...]:
    """A class list that comes with the package, such as 'vggsound'."""
    return read_classes(str(Path(__file__).with_name('labels') / f'{name}.txt'))


def youtube_id(cell: str, split: str) -> str:
    """The id of a YouTube video.

    Raises:
        BadRow: It is none.
    """
    if not _YOUTUBE_ID.fullmatch(cell):
        raise BadRow(MALFORMED, f'{cell!r} is not a YouTube id (11 letters, digits, - and _)', split)
    return cell


def whole_seconds(cell: str, split: str) -> int:
    """A time in whole seconds; ``30.0`` is one, too.

    Raises:
        BadRow: It is none.
    """
    if not re.fullmatch(r'\d+(\.0*)?', cell, re.ASCII):
        raise BadRow(MALFORMED, f'{cell!r} is not a time in whole seconds', split)
    return int(cell.partition('.')[0])


def _cells(text: str, places: Sequence[int | None]) -> list[str]:
    try:
        cells = [cell.strip() for cell in next(csv.reader([text], strict=True))]
    except csv.Error as error:
        raise BadRow(MALFORMED, f'not CSV ({error}); a cell that holds a comma is in double quotes') from error
    if not places:
        return cells
    width = max(place for place in places if place is not None) + 1
    if len(cells) < width:
        raise BadRow(MALFORMED, f'{len(cells)} cells, at least {width} are needed')
    return ['' if place is None else cells[place] for place in places]


def _find_columns(
    path: str, header: str, columns: Sequence[str], optional: Sequence[str]
) -> tuple[int, list[int | None]]:
    try:
        names = _cells(header, ())
    except BadRow as error:
        raise ManifestError(f'{path}: line 1: {error.text}') from error
    except StopIteration:
        names = []
    for name in columns:
        if name not in names:
            found = ', '.join(repr(column) for column in names) or 'nothing'
            raise ManifestError(
                f'{path}: line 1: no column {name!r}, only {found}; give the official file, whose first line names '
                f'its columns{did_you_mean(name, names)}'
            )
    for name in optional:
        near = [other for other in names if name not in names and near_column(other, (name,))]
        if near:
            raise ManifestError(f'{path}: line 1: column {near[0]!r} is not read; rename it to {name!r}')
    return 1, [names.index(name) if name in names else None for name in (*columns, *optional)]
