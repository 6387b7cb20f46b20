"""Predictions of a test list as the file that a challenge asks for: that of EPIC-Kitchens-100, or a CSV."""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from tqdm import tqdm

from mmav.datasets.manifest_table import Table, read_table
from mmav.errors import MmavError, did_you_mean
from mmav.evaluation.action_accuracy import PARTS
from mmav.evaluation.predictions import by_clip
from mmav.files import read_text
from mmav.outputs import write_output

# of the challenge: classes of each part, and action scores of a segment
EPIC_CLASSES = dict(verb=97, noun=300)
EPIC_ACTIONS = 100
# in the zip file, as epic-kitchens/C1-Action-Recognition, utils/challenge.py
INNER_NAME = 'test.json'
# seconds by which what was read may exceed a segment of the list
_SLACK = 0.01


def ids_in(rows: Sequence[dict], manifest: str | Path, column: str) -> list[str]:
    """The ids of predicted clips, from a column of the list that they were tested on.

    Args:
        rows: Predictions, see :func:`mmav.evaluation.predictions.save_predictions`.
        manifest: The list.
        column: Its column.

    Raises:
        MmavError: The list has no such column or not these clips, or an id is empty or occurs twice.
    """
    table = read_table(str(manifest), others=[column])
    if column not in table.header:
        known = ', '.join(map(repr, table.header))
        raise MmavError(f"'{manifest}' has no column {column!r}, only {known}{did_you_mean(column, table.header)}")
    place = table.header.index(column)
    by_clip(rows, 'the file of predictions')
    ids: list[str] = []
    for row in rows:
        _check_row(row, table)
        ids.append(table.rows[row['sample_idx']][1][place].strip())
    _check_unique(ids, f"'{manifest}': the {column}")
    return ids


def _check_row(row: dict, table: Table) -> None:
    """Whether a prediction is of the row of the list that it says."""
    index = row['sample_idx']
    if index >= len(table.rows):
        raise MmavError(
            f"'{table.path}' has {len(table.rows)} clips, the predictions are of more: give the list tested on"
        )
    line, cells = table.rows[index]
    listed, named = Path(table.clip(line, cells)).name, Path(row['path']).name
    start, end = table.span(line, cells)
    outside = row['broken'] is None and any(
        mark is not None and read is not None and sign * (read - mark) > _SLACK
        for mark, read, sign in ((start, row['start'], -1), (end, row['end'], 1))
    )
    if listed != named or outside:
        span = '' if listed != named else ' at other times'
        raise MmavError(
            f"'{table.path}': row {line} is of {listed}, the predictions have {named}{span} there: give the list that "
            'they were made with'
        )


def _check_unique(ids: Sequence[str], what: str) -> None:
    ids = list(ids)
    if '' in ids:
        raise MmavError(f'{what} of clip {ids.index("")} (counted from 0) is empty')
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise MmavError(f'{what} {each!r} occurs twice: ids have to be of one clip each')
        seen.add(each)


def check_epic_classes(classes: Mapping[str, Sequence[str]] | None, official: Mapping[str, Sequence[str]]) -> None:
    """Checks that scores are in the order of the official classes.

    Args:
        classes: Part of the label -> names, as in the file of predictions; without them there is nothing to compare.
        official: The same of the official lists, :func:`mmav.preparation.epic_kitchens.read_classes_by_id`.

    Raises:
        MmavError: The names are others, or in another order.
    """
    for part, right in official.items():
        names = list((classes or {}).get(part, right))
        if names != list(right):
            first = next((k for k, pair in enumerate(zip(names, right, strict=False)) if pair[0] != pair[1]), None)
            told = (
                f'{len(names)} of them'
                if first is None
                else f'number {first} is {names[first]!r}, not {right[first]!r}'
            )
            raise MmavError(
                f'the model was tested with other {part}s than the official list: {told}; give the dataset that list'
            )


def read_expected(path: str | Path) -> list[str]:
    """The narration ids of an official list, of which a submission needs all.

    Raises:
        MmavError: There is no such list, or it has no column ``narration_id``.
    """
    text = read_text(path, 'official list', remedy='give EPIC_100_test_timestamps.csv with --list')
    table = list(csv.reader(io.StringIO(text, newline='')))
    if not table or 'narration_id' not in table[0]:
        raise MmavError(f"'{path}': row 1: no column 'narration_id'; give EPIC_100_test_timestamps.csv")
    place = table[0].index('narration_id')
    return [row[place] for row in table[1:] if row]


def epic_submission(
    rows: Sequence[dict],
    ids: Sequence[str],
    expected: Sequence[str],
    *,
    levels: Mapping[str, int],
    fill: bool = False,
    progress: bool = False,
) -> str:
    """The JSON text of a submission to EPIC-Kitchens-100's action recognition challenge.

    The scores of verbs and nouns are logarithms of probabilities, and the 100 best actions have the product of both
    probabilities. Without action scores the challenge takes the softmax of what it is given (utils/scoring.py of
    epic-kitchens/C1-Action-Recognition): of probabilities it would rank actions by the sum of both.

    Args:
        rows: Predictions with the parts verb and noun.
        ids: Their narration ids.
        expected: The narration ids that the challenge asks for, in the order of the file.
        levels: ``sls_pt``, ``sls_tl``, ``sls_td``: how much supervision was used, 0 to 5 each (epic-kitchens/SLS).
        fill: Whether segments without a prediction get the same score for every class; else they are refused.
        progress: Whether to show a progress bar.

    Raises:
        MmavError: Segments are missing or unknown, or scores are not those that the challenge asks for.
    """
    sizes = {part: len(rows[0]['scores'].get(part, ())) for part in PARTS}
    if sizes != EPIC_CLASSES or any({p: len(v) for p, v in row['scores'].items()} != sizes for row in rows):
        found = ' and '.join(f'{len(values)} {part}s' for part, values in rows[0]['scores'].items())
        raise MmavError(f'the predictions are of {found}; the challenge asks for 97 verbs and 300 nouns')
    for name, level in levels.items():
        if level not in range(6):
            raise MmavError(f'{name}={level}: a level is 0 to 5')
    scores = dict(zip(ids, rows, strict=True))
    known = set(expected)
    strange = [each for each in ids if each not in known]
    if strange:
        raise MmavError(
            f'{len(strange)} of the predictions are of segments that the list does not have, first {strange[0]}'
        )
    missing = [each for each in expected if each not in scores]
    if missing and not fill:
        raise MmavError(
            f'{len(missing):,} of {len(expected):,} segments have no prediction, first {missing[0]}; the challenge '
            'asks for all: test the whole list, or give them equal scores with --fill'
        )
    if missing:
        print_log(f'{len(missing):,} segments without a prediction get equal scores', 'current', level=logging.WARNING)
    broken = sum(row['broken'] is not None for row in rows)
    if broken:
        told = f'{broken:,} segments could not be read: their scores are those of blank clips'
        print_log(told, 'current', level=logging.WARNING)
    equal = {part: np.full(size, 1 / size) for part, size in EPIC_CLASSES.items()}
    head = json.dumps(dict(version='0.2', challenge='action_recognition', **levels))[:-1]
    bar = tqdm(expected, 'scores', unit='segment', mininterval=0.5, disable=not progress)
    texts = [
        f'{json.dumps(each)}: {_result(scores[each]["scores"] if each in scores else equal, each)}' for each in bar
    ]
    return f'{head}, "results": {{{", ".join(texts)}}}}}'


def _result(scores: Mapping[str, np.ndarray], name: str) -> str:
    """The scores of a segment in JSON; each with nine figures, all that a float32 has."""
    tables = {part: np.asarray(scores[part], dtype=np.float64) for part in PARTS}
    if not all(np.isfinite(table).all() and (table >= 0).all() for table in tables.values()):
        raise MmavError(f'{name}: a score is not a probability; test the model again')
    parts = []
    for part, table in tables.items():
        logs = np.log(np.maximum(table, np.finfo(np.float32).tiny))
        parts.append((part, ((str(k), value) for k, value in enumerate(logs.tolist()))))
    joint = np.multiply.outer(*tables.values())
    flat = joint.ravel()
    first = np.sort(np.argpartition(-flat, EPIC_ACTIONS)[:EPIC_ACTIONS])
    best = first[np.argsort(-flat[first], kind='stable')]
    verbs, nouns = np.unravel_index(best, joint.shape)
    values = flat[best].tolist()
    parts.append(('action', ((f'{v},{n}', value) for v, n, value in zip(verbs, nouns, values, strict=True))))
    return f'{{{", ".join(f"{json.dumps(part)}: {{{_pairs(pairs)}}}" for part, pairs in parts)}}}'


def _pairs(pairs: Iterable[tuple[str, float]]) -> str:
    return ', '.join(f'"{key}": {value:.9g}' for key, value in pairs)


def write_epic_submission(path: str | Path, text: str) -> None:
    """Writes a submission, a ``.json`` file or the ``.zip`` with one in it that the challenge takes.

    Raises:
        OutputError: There is a file that this program did not write.
    """
    if Path(path).suffix.lower() != '.zip':
        write_output(path, text)
        return
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w', compression=zipfile.ZIP_DEFLATED, compresslevel=5) as file:
        # without the time of writing, so that the same predictions give the same bytes
        info = zipfile.ZipInfo(INNER_NAME)
        info.compress_type = zipfile.ZIP_DEFLATED
        file.writestr(info, text, compresslevel=5)
    write_output(path, content.getvalue())


def csv_ids(rows: Sequence[dict], by: str, manifest: str | Path | None = None) -> list[str]:
    """What identifies clips in a table.

    Args:
        rows: Predictions.
        by: ``stem``, the name of the file without its suffix, ``path``, or ``row`` of the list, from 0; with a list one
            of its columns, such as its own ``path``.
        manifest: The list that was tested on.

    Raises:
        MmavError: A column is asked for without a list, or the other way round; an id occurs twice; see
            :func:`ids_in`.
    """
    own: dict[str, Callable[[dict], str]] = dict(
        stem=lambda row: Path(row['path']).stem, path=lambda row: row['path'], row=lambda row: str(row['sample_idx'])
    )
    if manifest is not None and (by not in own or by in read_table(str(manifest), others=[by]).header):
        return ids_in(rows, manifest, by)
    if manifest is not None:
        raise MmavError(f'--manifest has no effect with --id {by}: name the column of the ids with --id')
    if by not in own:
        raise MmavError(f'--id {by} is a column of the list that was tested on: give the list with --manifest')
    ids = [own[by](row) for row in rows]
    (most, number), *_ = Counter(ids).most_common(1)
    if number > 1:  # such as the segments of a video
        raise MmavError(
            f'the {by} {most!r} is that of {number} clips: take --id row, or a column of --manifest with --id'
        )
    return ids


def csv_submission(
    rows: Sequence[dict],
    ids: Sequence[str],
    classes: Mapping[str, Sequence[str]] | None = None,
    *,
    id_name: str = 'id',
    topk: int = 1,
    scores: bool = False,
    threshold: float | None = None,
    indices: bool = False,
) -> list[list[Any]]:
    """A table of predictions: a header, and a row for each clip.

    Columns are the id, and of each part of the label: its most probable class (``label``); with ``topk`` above 1 the
    most probable ones (``label_1``, ``label_2`` ...); with ``scores`` a probability for each class; with ``threshold``
    the classes whose probability reaches it, separated by ``|``.

    Args:
        rows: Predictions, see :func:`mmav.evaluation.predictions.save_predictions`.
        ids: Their ids.
        classes: Part -> names of the classes; without them classes are numbers.
        id_name: The header above the ids.
        topk: How many classes.
        scores: Whether probabilities are given.
        threshold: A probability.
        indices: Whether classes are numbers, from 0.

    Raises:
        MmavError: More classes are asked for than there are, a name contains ``|``, an id occurs twice, or a score is
            not finite.
    """
    _check_unique(ids, 'the id')
    broken = sum(row['broken'] is not None for row in rows)
    if broken:
        told = f'{broken:,} of {len(rows):,} clips could not be read: their predictions are those of blank clips'
        print_log(told, 'current', level=logging.WARNING)
    header, columns = [id_name], []
    for part, first in rows[0]['scores'].items():
        size, alone = len(first), len(rows[0]['scores']) == 1
        names = list(map(str, range(size))) if indices or not classes else list(classes[part])
        if topk > size:
            raise MmavError(f'{topk} classes are asked for, the model tells {size} apart')
        table = np.array([row['scores'][part] for row in rows])
        odd_rows = np.flatnonzero(~np.isfinite(table).all(axis=1))
        if len(odd_rows):
            raise MmavError(f'{ids[odd_rows[0]]}: a score is not a number; test the model again')
        if scores:
            header += names if alone else [f'{part}:{name}' for name in names]
            columns.append([[f'{value:.9g}' for value in each] for each in table.tolist()])
        elif threshold is not None:
            odd = next((name for name in names if '|' in name), None)
            if odd is not None:
                raise MmavError(f'the class name {odd!r} has a |, which separates classes: give --indices')
            header.append(part)
            columns.append([['|'.join(names[k] for k in np.flatnonzero(each >= threshold))] for each in table])
        else:
            best = np.argsort(-table, axis=1, kind='stable')[:, :topk]
            header += [part] if topk == 1 else [f'{part}_{k + 1}' for k in range(topk)]
            columns.append([[names[k] for k in each] for each in best])
    cells = ([each, *(cell for column in columns for cell in column[k])] for k, each in enumerate(ids))
    return [header, *cells]
