"""Official annotation files of datasets, row by row: the clips, and which rows were left out and why."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from mmav.class_names import read_classes
from mmav.datasets.columns import near_column
from mmav.errors import ManifestError, did_you_mean
from mmav.files import read_text

SPLITS = ('train', 'test')
MALFORMED, UNKNOWN_LABEL, DUPLICATE = 'malformed row', 'unknown label', 'duplicate row'
SEVERAL_CLASSES, NOT_LISTED, NO_SOUND = 'clip of several classes', 'annotation in no list', 'clip without sound'


class AnnotatedClip(NamedTuple):
    """A clip of an annotation file.

    Attributes:
        split: 'train', 'test', or another one that the dataset has.
        source: The annotation file, without its folder.
        line: Line of that file; the first one is line 1.
        id: The annotation's id of the clip.
        video: Id of the video that the clip is part of, which names of files are made of.
        start: Start in seconds of that video.
        end: End in seconds of that video.
        labels: A class name for each class list of the dataset; several are separated by ``|``.
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
    """Something that a user should know; the report groups problems by their ``kind``."""

    kind: str
    text: str


class BadRow(Exception):
    """A row that cannot be used; :meth:`Annotation.read` turns it into a :class:`Problem`.

    Args:
        text: What is wrong and how to fix it.
        kind: Kind of the problem.
    """

    def __init__(self, text: str, kind: str = MALFORMED) -> None:
        super().__init__(text)
        self.text, self.kind = text, kind


@dataclass
class Row:
    """A row of an annotation file.

    Attributes:
        source: The annotation file, without its folder.
        line: Line of that file.
        cells: Its cells.
        split: Its split. A parser sets it as soon as it knows, so that a bad row is counted in its split.
    """

    source: str
    line: int
    cells: list[str] = field(default_factory=list)
    split: str = 'unknown'

    def clip(self, name: str, start: float, end: float, *labels: str, video: str = '') -> AnnotatedClip:
        """The clip of this row, with ``name`` as its id, and as that of its video unless another one is given.

        Raises:
            BadRow: It does not end after its start.
        """
        if end <= start:
            raise BadRow(f'end {end:g} s is not after start {start:g} s')
        return AnnotatedClip(self.split, self.source, self.line, name, video or name, start, end, labels)


Parse = Callable[[Row], AnnotatedClip | None]


class Annotation:
    """The annotation files of a dataset, and how its media files are named.

    Args:
        dataset: Name for messages.
        classes: Column of the manifest -> class names, in the order of their indices.
        patterns: Names of a clip's file without suffix, in Python's format syntax, in the order of preference.
        fields: Names that a pattern may use, see :func:`mmav.preparation.clip_files.names_of`.
        suffix: Suffix of file names that are shown as expected.
        segments: Whether clips are parts of longer files, so that the manifest has their start and end.
        splits: Its splits; of a clip in several of them, the row of the last one stays.

    Attributes:
        clips: The rows that can be used, in the order of the files.
        rows: Split -> number of its rows.
        left_out: Split -> number of its rows that cannot be used.
        problems: Why they cannot.
        notes: Further remarks for the user.
        sources: The files that were read.
        copies: Files to write beside the manifests, name -> content.
        folder_labels: Class names that folders may have; also those of a larger dataset that this one is part of.
        tag: Behind ``missing`` and ``prepare_report`` in the names of these files, beside those of other lists.
        id_column: Column of the manifest for the ids of segments; None for none.
        media: Suffixes of its files; None for those of videos.
        joined: More manifests, such as all for training -> the splits whose rows they have.
        share_files: Whether a file may serve for several rows, as where one clip has a row for each of its classes.
        is_whole: Whether the rows are all that the folder should hold, so that other files are reported.
        refine: Called with the clips that have files, and the folder, before anything is written: to leave some out, or
            to cut them.
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
        splits: Sequence[str] = SPLITS,
    ) -> None:
        self.dataset, self.suffix, self.segments = dataset, suffix, segments
        self.splits = tuple(splits)
        self.classes = {column: tuple(names) for column, names in classes.items()}
        self.patterns, self.fields = tuple(patterns), tuple(fields)
        self.clips: list[AnnotatedClip] = []
        self.rows: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.sources: list[str] = []
        self.copies: dict[str, bytes] = {}
        self.folder_labels = set(self.classes.get('label', ()))
        self.tag = ''
        self.id_column: str | None = 'narration_id'
        self.media: frozenset[str] | None = None
        self.joined: dict[str, tuple[str, ...]] = {}
        self.share_files = self.is_whole = False
        self.refine: Callable[[Any, Any], None] | None = None

    def read(
        self,
        path: str,
        parse: Parse,
        columns: Sequence[str] = (),
        optional: Sequence[str] = (),
        *,
        delimiter: str = ',',
        header: str = '',
        comment: str = '',
    ) -> None:
        """Reads one file and adds its clips, in the order of its lines.

        Args:
            path: CSV file, UTF-8. Each line is a row of its own, so that a stray quote spoils only one row.
            parse: Row -> its clip, or None for a row that is not part of this dataset; raises :class:`BadRow`.
            columns: For a file with a header: the columns of the cells that ``parse`` gets, in this order.
            optional: More columns; a cell is empty if the file has no such column.
            delimiter: What separates cells.
            header: A first line that some copies of the file have, and that is not a row.
            comment: How lines begin that are no rows.

        Raises:
            ManifestError: The file cannot be read, has no such columns, or none of its rows can be used.
        """
        lines = read_text(path, 'annotation file', remedy='give the official file').split('\n')
        source, count, passed, bad = Path(path).name, 0, 0, ''
        cells_of = partial(_cells, delimiter=delimiter)
        places = _find_columns(path, cells_of, lines[0], columns, optional) if columns else []
        before = len(self.clips)
        for line, text in enumerate(lines, start=1):
            if not text.strip() or (line == 1 and (columns or text.strip() == header)):
                continue
            if comment and text.startswith(comment):
                continue
            count, row = count + 1, Row(source, line)
            try:
                row.cells = cells_of(text, places)
                clip = parse(row)
                if clip is None:
                    passed += 1
                    continue
                self.rows[clip.split] += 1
                self.clips.append(clip)
            except BadRow as error:
                self.rows[row.split] += 1
                bad = bad or f'line {line}: {error.text}'
                self.leave_out(error.kind, row.split, f'{source}: line {line}: {error.text}')
        if len(self.clips) == before:
            why = f'the first, {bad}' if bad else f'{passed} are of other classes' if passed else 'it is empty'
            raise ManifestError(f'{path}: none of its {count} rows can be used for {self.dataset}; {why}')
        if passed:
            self.notes.append(f'{source}: {passed:,} rows of other classes are skipped')
        self.sources.append(str(path))

    def remove_duplicates(self) -> None:
        """Leaves out clips that occur twice; if a clip is in several splits, the row of the last one stays.

        Otherwise a model would be trained on clips that it is tested on.
        """
        first: dict[tuple[str, float], AnnotatedClip] = {}
        for clip in sorted(self.clips, key=lambda clip: self.splits.index(clip.split), reverse=True):
            first.setdefault((clip.id, clip.start), clip)
        clips, self.clips = self.clips, []
        for clip in clips:
            other = first[clip.id, clip.start]
            if other is clip:
                self.clips.append(clip)
                continue
            what = f'in the {other.split} split, too,' if other.split != clip.split else 'there already'
            also = '' if other.labels == clip.labels else f', labelled {other.label!r} and not {clip.label!r}'
            text = f'{clip.source}: line {clip.line}: {clip.id} is {what} in {other.source}, line {other.line}{also}'
            self.leave_out(DUPLICATE, clip.split, text)

    def check_label(self, column: str, label: str) -> str:
        """Returns the label if it is in the class list.

        Raises:
            BadRow: It is not.
        """
        if label not in self.classes[column]:
            hint = _hint(label, self.classes[column])
            raise BadRow(f'{column} {label!r} is not in the class list{hint}', UNKNOWN_LABEL)
        return label

    def leave_out(self, kind: str, split: str, text: str) -> None:
        """Counts a row of a split as left out, and says why."""
        self.left_out[split] += 1
        self.problems.append(Problem(kind, text))


@lru_cache(maxsize=1024)  # a search through all classes, for each of many rows
def _hint(label: str, names: tuple[str, ...]) -> str:
    return did_you_mean(label, names)


def read_labels(name: str) -> tuple[str, ...]:
    """A class list that comes with the package, such as 'vggsound'."""
    return read_classes(str(Path(__file__).with_name('labels') / f'{name}.txt'))


def youtube_id(cell: str) -> str:
    """The id of a YouTube video.

    Raises:
        BadRow: It is not one.
    """
    if not re.fullmatch(r'[\w-]{11}', cell, re.ASCII):
        raise BadRow(f'{cell!r} is not a YouTube id (11 letters, digits, - and _)')
    return cell


def whole_seconds(cell: str) -> int:
    """A time in whole seconds; ``30.0`` is one, too.

    Raises:
        BadRow: It is not one.
    """
    if not re.fullmatch(r'\d+(\.0*)?', cell, re.ASCII):
        raise BadRow(f'{cell!r} is not a time in whole seconds')
    return int(cell.partition('.')[0])


def _cells(text: str, places: Sequence[int | None], *, delimiter: str) -> list[str]:
    try:
        rows = csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True)
        cells = [cell.strip() for cell in next(rows, [])]
    except csv.Error as error:
        raise BadRow(f'not CSV ({error}); a cell that holds a comma is in double quotes') from error
    if not places:
        return cells
    width = max(place for place in places if place is not None) + 1
    if len(cells) < width:
        raise BadRow(f'{len(cells)} cells, at least {width} are needed')
    return ['' if place is None else cells[place] for place in places]


def _find_columns(
    path: str, cells_of: Callable[..., list[str]], header: str, columns: Sequence[str], optional: Sequence[str]
) -> list[int | None]:
    try:
        names = cells_of(header, ())
    except BadRow as error:
        raise ManifestError(f'{path}: line 1: {error.text}') from error
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
    return [names.index(name) if name in names else None for name in (*columns, *optional)]
