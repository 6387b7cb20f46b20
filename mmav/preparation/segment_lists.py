"""Lists of segments of long videos as other projects publish them: tables, and several forms of JSON.

Read are, with any names of the columns or keys:

- a table with a header, a segment a row, cells separated by commas or, in ``.tsv`` files, by tabs
- ``{"database": {video: {"subset": ..., "annotations": [{"segment": [start, end], "label": ...}]}}}`` (ActivityNet,
  HACS, YouCook2, THUMOS)
- ``{video: {"start": [...], "end": [...], "text": [...]}}`` (captions of HowTo100M)
- ``{video: {"timestamps": [[start, end], ...], "sentences": [...]}}`` (ActivityNet Captions)
- ``{video: [[start, end, label], ...]}``, ``{video: [{"start": ..., "end": ..., "label": ...}, ...]}``, and a list of
  such dicts, each with the id of its video, or with its ``segments``
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmav.datasets.columns import divisor_of, is_video_id, near_column
from mmav.errors import ManifestError, did_you_mean
from mmav.files import read_text

VIDEO, START, END, LABEL, SUBSET = PARTS = ('video', 'start', 'end', 'label', 'subset')
_SUBSETS = ('subset', 'split', 'partition', 'phase')
_PAIRS = ('segment', 'timestamp', 'timestamps', 'segments', 'span', 'interval')
_INSIDE = ('annotations', 'segments', 'clips', 'events')
_VIDEOS = ('video', 'vid', 'id', 'name', 'video_name', 'video_url')


class Segment(NamedTuple):
    """A segment as a list has it: all texts, and empty where the list has nothing.

    Attributes:
        number: Line of a table, or which segment of a JSON file it is; both from 1.
        video: Id of its video.
        start: Start in the video.
        end: End in the video.
        label: Its label.
        subset: The subset that the list assigns it to.
    """

    number: int
    video: str
    start: str
    end: str
    label: str
    subset: str


def read_segment_list(path: str, names: Mapping[str, str] | None = None, *, labelled: bool = True) -> list[Segment]:
    """Reads a list of segments; neither times nor labels are checked.

    Args:
        path: A ``.json`` file, or else a table.
        names: Which column or key is what: ``video``, ``start``, ``end``, ``label`` or ``subset`` -> its name. Others
            are found by their names.
        labelled: Whether each segment needs a label.

    Raises:
        ManifestError: The file cannot be read, is none of the forms, or it is unclear which column is what.
    """
    given = dict(names or {})
    text = read_text(path, 'list of segments', remedy='give another one')
    if Path(path).suffix.lower() != '.json':
        return _read_table(path, text, given, labelled=labelled)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ManifestError(f'{path}: not JSON: {error}') from error
    found = [
        Segment(number, *(_text(value) for value in values))
        for number, values in enumerate(_Json(path, given, labelled=labelled).segments(data), start=1)
    ]
    if not found:
        raise ManifestError(f'{path}: it has no segment')
    return found


def find_part(where: str, part: str, known: Sequence[str], given: Mapping[str, str]) -> str | None:
    """The column or key that is a part of a segment; None where no name is like it.

    Args:
        where: Place for messages.
        part: Such as ``start``.
        known: Names of the columns or keys.
        given: Part -> the name that the user gives.

    Raises:
        ManifestError: The name that is given is not there, several are like it, or its times are no seconds.
    """
    if part in given:
        if given[part] not in known:
            raise ManifestError(
                f'{where}: no {given[part]!r} (--{part}), only {_list(known)}{did_you_mean(given[part], known)}'
            )
        return given[part]
    if part in known and part not in (START, END):
        return part
    if part == VIDEO:
        like = [name for name in known if is_video_id(name)] or [name for name in known if name.lower() in _VIDEOS][:1]
    elif part == SUBSET:
        like = [name for name in known if name.lower() in _SUBSETS]
    else:
        like = [name for name in known if near_column(name, (part,))]
    if part in (START, END):
        seconds = [name for name in like if divisor_of(name) is None]
        if like and not seconds:
            raise ManifestError(f'{where}: {like[0]!r} is not in seconds; divide it by {divisor_of(like[0])}')
        like = seconds
    if len(like) > 1:
        raise ManifestError(f'{where}: {_list(like)} may all be the {part}; say which with --{part}')
    return like[0] if like else None


def need_part(where: str, part: str, known: Sequence[str], given: Mapping[str, str]) -> str:
    """As :func:`find_part`, for a part that has to be there.

    Raises:
        ManifestError: No name is like it, too.
    """
    name = find_part(where, part, known, given)
    if name is None:
        raise ManifestError(f'{where}: none of {_list(known)} is a name for the {part}; say which with --{part}')
    return name


def read_video_labels(path: str, label: str | None = None) -> dict[str, str]:
    """Reads a table with a header that gives each video a label; rows of one video must agree.

    Args:
        path: The table, of the form of tables of segments.
        label: Name of the column of labels, if it is not like ``label``.

    Returns:
        Id of a video -> its label.

    Raises:
        ManifestError: The file cannot be read, has no such columns, or gives a video two labels.
    """
    text = read_text(path, 'table of videos', remedy='give another --video-labels')
    given = {LABEL: label} if label else {}
    labels: dict[str, str] = {}
    for line, (video, name) in _read_cells(path, text, given, (VIDEO, LABEL)):
        if labels.setdefault(video, name) != name:
            raise ManifestError(f'{path}: line {line}: video {video!r} is {name!r} here and {labels[video]!r} above')
    return labels


def _list(names: Iterable[str]) -> str:
    return ', '.join(map(repr, names)) or 'nothing'


def _text(value: Any) -> str:
    if isinstance(value, list):  # several labels
        return '|'.join(filter(None, map(_text, value)))
    return '' if value is None else str(value).strip()


def _read_table(path: str, text: str, given: Mapping[str, str], *, labelled: bool) -> list[Segment]:
    needed = (VIDEO, START, END, LABEL)[: 3 + labelled]
    found = []
    for line, cells in _read_cells(path, text, given, needed, optional=SUBSET):
        video, start, end, *label, subset = cells
        found.append(Segment(line, video, start, end, ''.join(label), subset))
    return found


def _read_cells(
    path: str, text: str, given: Mapping[str, str], needed: Sequence[str], optional: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row of a table: those that are needed, then the optional one, which may be empty."""
    delimiter = '\t' if Path(path).suffix.lower() == '.tsv' else ','
    lines = (f'{line}\n' for line in text.split('\n'))
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [name.strip().lstrip('#').strip() for name in next(rows, [])]
        where = f'{path}: line 1'
        if not any(header):
            raise ManifestError(f'{path}: it is empty; give the official list')
        if len(header) < len(needed):
            raise ManifestError(f'{where}: {_list(header)} are too few columns; needed are {", ".join(needed)}')
        places: list[int | None] = [header.index(need_part(where, part, header, given)) for part in needed]
        if optional is not None:
            name = find_part(where, optional, header, given)
            places.append(None if name is None else header.index(name))
        count = 0
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ManifestError(
                    f'{path}: line {rows.line_num}: {len(cells)} cells under a header of {len(header)}; a cell that '
                    f'holds a {"comma" if delimiter == "," else "tab"} is in double quotes'
                )
            count += 1
            yield rows.line_num, ['' if place is None else cells[place].strip() for place in places]
    except csv.Error as error:
        raise ManifestError(f'{path}: line {rows.line_num}: not CSV: {error}') from error
    if not count:
        raise ManifestError(f'{path}: it has a header and nothing below')


class _Json:
    """The forms of JSON.

    Args:
        path: The file, for messages.
        given: Part -> the key that the user names.
        labelled: Whether each segment needs a label.
    """

    def __init__(self, path: str, given: Mapping[str, str], *, labelled: bool) -> None:
        self._path, self._given, self._labelled = path, given, labelled

    def segments(self, data: Any) -> Iterator[tuple[Any, ...]]:
        """Video, start, end, label and subset of each segment."""
        if isinstance(data, dict) and isinstance(data.get('database'), dict):
            data = data['database']
        if isinstance(data, dict):
            for video, entry in data.items():
                yield from self._of_video(str(video), entry)
        elif isinstance(data, list):
            for number, entry in enumerate(data, start=1):
                where = f'{self._path}: entry {number}'
                if not isinstance(entry, dict):
                    raise self._unknown(where)
                yield from self._of_video(_text(entry[need_part(where, VIDEO, list(entry), self._given)]), entry)
        else:
            raise self._unknown(self._path)

    def _of_video(self, video: str, entry: Any) -> Iterator[tuple[Any, ...]]:
        where = f'{self._path}: {video}'
        if isinstance(entry, list):
            yield from (self._one(where, video, each, {}) for each in entry)
            return
        if not isinstance(entry, dict):
            raise self._unknown(where)
        inside = next((key for key in _INSIDE if isinstance(entry.get(key), list)), None)
        if inside is not None and not any(isinstance(each, (int, float)) for each in entry[inside]):
            yield from (self._one(where, video, each, entry) for each in entry[inside])
            return
        columns = {key: value for key, value in entry.items() if isinstance(value, list)}
        lengths = {key: len(value) for key, value in columns.items()}
        pairs = next((key for key in _PAIRS if _is_pairs(columns.get(key))), None)
        if pairs is None and not {START, END} <= {near_column(key, (START, END)) for key in columns}:
            yield self._one(where, video, entry, {})  # a segment by itself
            return
        if len(set(lengths.values())) > 1:
            told = ', '.join(f'{number} {key}' for key, number in lengths.items())
            raise ManifestError(f'{where}: lists of different lengths: {told}')
        for values in zip(*columns.values(), strict=True):
            yield self._one(where, video, dict(zip(columns, values, strict=True)), entry)

    def _one(self, where: str, video: str, each: Any, entry: Mapping[str, Any]) -> tuple[Any, ...]:
        """A segment, of which its video's entry may tell the label and the subset."""
        if isinstance(each, list) and len(each) in (2, 3):
            label = each[2] if len(each) == 3 else self._told(where, LABEL, {}, entry)
            return video, each[0], each[1], label, self._told(where, SUBSET, {}, entry)
        if not isinstance(each, dict):
            raise self._unknown(where)
        pair = next((each[key] for key in _PAIRS if isinstance(each.get(key), list) and len(each[key]) == 2), None)
        if pair is None:
            pair = [each[need_part(where, part, list(each), self._given)] for part in (START, END)]
        return (video, *pair, self._told(where, LABEL, each, entry), self._told(where, SUBSET, each, entry))

    def _told(self, where: str, part: str, each: Mapping[str, Any], entry: Mapping[str, Any]) -> Any:
        """What a segment says, or else its video's entry; empty where neither has it and it is not needed."""
        given = self._given.get(part)
        for holder in (each, entry):
            name = (given if given in holder else None) if given else find_part(where, part, list(holder), {})
            if name is not None:
                return holder[name]
        if given is None and not (part == LABEL and self._labelled):
            return ''
        keys = [*each, *(key for key, value in entry.items() if not isinstance(value, list) and key not in each)]
        if given:
            raise ManifestError(f'{where}: no {given!r} (--{part}), only {_list(keys)}{did_you_mean(given, keys)}')
        raise ManifestError(f'{where}: none of {_list(keys)} is a name for the {part}; say which with --{part}')

    def _unknown(self, where: str) -> ManifestError:
        return ManifestError(
            f'{where}: it is none of the forms that are known: {{"database": {{video: {{"annotations": [{{"segment": '
            '[start, end], "label": ...}]}}}, {video: {"start": [...], "end": [...], "label": [...]}}, or a list of '
            'dicts with video_id, start, end and label'
        )


def _is_pairs(value: Any) -> bool:
    return bool(isinstance(value, list) and value and all(isinstance(each, list) and len(each) == 2 for each in value))
