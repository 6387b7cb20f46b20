"""Files of predictions: written in testing, averaged and plotted afterwards."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmav.errors import MmavError
from mmav.evaluation.accuracy import ranks_of_clip
from mmav.evaluation.class_scores import Answers, answers_of, multi_hot
from mmav.evaluation.multi_label import multi_label_scores
from mmav.outputs import write_output
from mmav.structures import ACTION, as_given, as_parts

_FIELDS = ('path', 'start', 'end', 'label', 'scores', 'broken', 'sample_idx')
_SAFE = {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
}


# part of the label -> names of its classes
Classes = Mapping[str, Sequence[str]]


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in types and numpy arrays only, as anything else in a pickle could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed')
        return super().find_class(module, name)


def save_predictions(path: str | Path, rows: Sequence[dict], classes: Any = None) -> None:
    """Writes predictions.

    If clips have one label, the file holds ``label``, ``scores`` and the class names without a dict; they may also be
    passed that way.

    Args:
        path: A file name, usually ending in .pkl.
        rows: One dict a clip: ``path``; ``start``, ``end`` in seconds or None; ``label``, part -> the true class, or a
            tuple of the true classes where clips may have several, and no part where they are not labelled;
            ``scores``, part -> (C,) float32 probabilities; ``broken``, why the clip could not be read, or None;
            ``sample_idx``, the row of the manifest from 0; ``feature`` (D,) float32 and ``features``, name -> (D,)
            float32, where the model keeps them.
        classes: Part -> names of the classes, or the names alone where clips have one label.
    """
    names = None if classes is None else {part: list(map(str, each)) for part, each in as_parts(classes).items()}
    written = [
        {**row, **{key: as_given(as_parts(row[key])) for key in ('label', 'scores') if key in row}} for row in rows
    ]
    write_output(path, pickle.dumps(dict(classes=names and as_given(names), rows=written), protocol=4))


def load_predictions(path: str | Path) -> tuple[list[dict], dict[str, list[str]] | None]:
    """Reads predictions; a pickle that could run code is refused.

    Returns:
        The rows, see :func:`save_predictions`, and part -> names of the classes (None if it has none).

    Raises:
        MmavError: No such file, or not one of predictions.
    """
    try:
        with open(path, 'rb') as file:
            content = _PlainUnpickler(file).load()
        rows, classes = content['rows'], content['classes']
        complete = bool(rows) and all(field in row for row in rows for field in _FIELDS)
    except FileNotFoundError as error:
        raise MmavError(f"no file '{path}': write one with mmav test ... --dump {path}") from error
    except Exception as error:  # a pickle can fail in any way
        raise MmavError(f"'{path}' is not a file of predictions: {error}") from error
    if not complete:
        raise MmavError(f"'{path}' is not a file of predictions: it has no rows with {', '.join(_FIELDS)}")
    rows = [{**row, 'label': as_parts(row['label']), 'scores': as_parts(row['scores'])} for row in rows]
    if any(row['label'].keys() != rows[0]['label'].keys() for row in rows):
        raise MmavError(f"'{path}' is not a file of predictions: its clips have labels of different parts")
    if any(is_multi_label([row]) != is_multi_label(rows) for row in rows):
        raise MmavError(f"'{path}' is not a file of predictions: some of its clips have one label, others a set")
    return rows, as_parts(classes) if classes else None


def refuse_twice(paths: Iterable[str | Path]) -> None:
    """Refuses one file in the place of two that are compared.

    Raises:
        MmavError: Two paths are of the same file.
    """
    seen: set[Path] = set()
    for path in paths:
        found = Path(path).expanduser().resolve()
        if found in seen:
            raise MmavError(f"'{path}' is given twice: each test has a file of its own")
        seen.add(found)


def is_multi_label(rows: Sequence[dict]) -> bool:
    """Whether clips have sets of labels.

    >>> is_multi_label([dict(label=dict(label=(0, 2)))]), is_multi_label([dict(label=dict(label=1))])
    (True, False)
    """
    return any(isinstance(label, tuple) for label in rows[0]['label'].values()) if rows else False


def is_labelled(rows: Sequence[dict]) -> bool:
    """Whether the truth is known; not that of a test list without labels."""
    return bool(rows and rows[0]['label'])


def require_labels(rows: Sequence[dict], path: str | Path = 'the predictions', *, one: bool = False) -> None:
    """Refuses predictions that lack what is asked for.

    Args:
        rows: Of one file.
        path: The file.
        one: Whether each clip has to have one label.

    Raises:
        MmavError: The clips have no labels, or sets of them where one is needed.
    """
    if not is_labelled(rows):
        raise MmavError(f"'{path}' is of clips without labels: give predictions of a labelled list")
    if one and is_multi_label(rows):
        raise MmavError(f"'{path}' has clips with several labels: this is for clips with one label each")


def read_features(path: str | Path, part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the features that a model kept, of all clips that could be read and have one label; the log counts others.

    Args:
        path: File of predictions.
        part: Which part of the label, where it has several.

    Returns:
        Features (clips, D) and labels (clips,).

    Raises:
        MmavError: No such file, it has no features, or its clips do not have this label.
    """
    rows = [row for row in load_predictions(path)[0] if row['broken'] is None]
    if any('feature' not in row for row in rows):
        raise no_features(path)
    part = part_of(rows, part, path)
    labels = one_label_each(rows, part)
    kept = [place for place, label in enumerate(labels) if label is not None]
    if len(kept) < len(rows):
        print_log(f"'{path}': left out: {len(rows) - len(kept)} clips that have several labels, or none")
    if rows and not kept:
        raise MmavError(f"'{path}' has no clip with one label only, which this needs")
    return np.array([rows[place]['feature'] for place in kept]), np.array([labels[place] for place in kept], dtype=int)


def no_features(path: str | Path) -> MmavError:
    """The error of a file that was dumped without features."""
    return MmavError(f"'{path}' has no features: dump it with --cfg-options model.keep_features=True")


def part_of(rows: Sequence[dict], part: str | None, path: str | Path, *, together: bool = False) -> str:
    """The requested part of the label, or the only one.

    Args:
        rows: Predictions of one file.
        part: The part, or None.
        path: The file.
        together: Whether all parts together may be asked for, as ``action``.

    Raises:
        MmavError: The clips of this file do not have this part, or several and none is asked for, or no labels.
    """
    if rows:
        require_labels(rows, path)
    parts = list(rows[0]['label']) if rows else [part or 'label']
    if len(parts) == 1:
        if part not in (None, *parts) or (part is not None and parts == ['label']):
            raise MmavError(f"'{path}' needs no --part, its clips have one label")
        return parts[0]
    known = [*parts, *([ACTION] if together else [])]
    if part not in known:
        raise MmavError(f"'{path}' needs --part {', '.join(known[:-1])} or {known[-1]}")
    return str(part)


def one_label_each(rows: Sequence[dict], part: str) -> list[int | None]:
    """The class of each clip in one part of the label; None where a set of labels is not of one class.

    >>> one_label_each([dict(label=dict(label=(4,))), dict(label=dict(label=(1, 2)))], 'label')
    [4, None]
    """
    labels = [row['label'][part] for row in rows]
    return [(label[0] if len(label) == 1 else None) if isinstance(label, tuple) else label for label in labels]


def by_clip(rows: Sequence[dict], name: str | Path) -> dict[tuple[int, str], dict]:
    """Rows by :func:`clip_key`.

    Raises:
        MmavError: A clip is there twice.
    """
    table = {clip_key(row): row for row in rows}
    if len(table) != len(rows):
        raise MmavError(f'{name} has a clip twice')
    return table


def average_predictions(
    dumps: Sequence[Sequence[dict]], weights: Sequence[float] | None = None, *, names: Sequence[str] | None = None
) -> list[dict]:
    """Averages the probabilities that several models gave to the same clips (late fusion).

    Args:
        dumps: Rows of each model; clips are matched by :func:`clip_key`, in any order.
        weights: One a model, any positive scale; equal if not given.
        names: What to call the models in messages.

    Returns:
        Rows like the first model's, with averaged scores; a clip is broken only if no model could read it.

    Raises:
        MmavError: The models did not see the same clips, labels or classes, or the weights do not fit. Clips need no
            labels, but all dumps have them, or none.
    """
    names = names or [f'predictions {i + 1}' for i in range(len(dumps))]
    shares = np.ones(len(dumps)) if weights is None else np.asarray(weights, dtype=float)
    if len(shares) != len(dumps) or (shares < 0).any() or not shares.sum() > 0:
        raise MmavError(f'need {len(dumps)} weights, none negative and not all zero, got {weights}')
    shares = shares / shares.sum()
    tables = [by_clip(dump, name) for dump, name in zip(dumps, names, strict=True)]
    for name, table in zip(names, tables, strict=True):
        if table.keys() != tables[0].keys():
            odd = next(iter(table.keys() ^ tables[0].keys()))
            raise MmavError(f'{names[0]} and {name} are of different clips: only one has {odd[1]} in row {odd[0]}')
    averaged = []
    for key, first in tables[0].items():
        rows = [table[key] for table in tables]
        if any(row['label'] != first['label'] or sizes_of(row) != sizes_of(first) for row in rows):
            raise MmavError(f'the models differ in the label or in the number of classes of {key}')
        # a model that could not read the clip does not contribute
        heard = [i for i, row in enumerate(rows) if row['broken'] is None and shares[i] > 0] or list(range(len(rows)))
        weights_heard = shares[heard] / (shares[heard].sum() or 1.0)
        scores = {part: _weighted([rows[i]['scores'][part] for i in heard], weights_heard) for part in first['scores']}
        broken = first['broken'] if all(row['broken'] is not None for row in rows) else None
        row = {name: value for name, value in first.items() if name not in ('feature', 'features')}  # of one model only
        averaged.append({**row, 'scores': scores, 'broken': broken})
    return averaged


def sizes_of(row: dict) -> dict[str, int]:
    """Part of the label -> the number of its classes."""
    return {part: len(values) for part, values in row['scores'].items()}


def _weighted(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.average(scores, axis=0, weights=weights).astype(np.float32)


def clip_key(row: dict) -> tuple[int, str]:
    """What identifies a clip: its row in the manifest and its file name.

    Not the folder, which may have moved; not start and end, as models may use different parts of a clip.
    """
    return row['sample_idx'], Path(row['path']).name


def answers_in(rows: Sequence[dict], part: str, path: str | Path = 'the predictions') -> Answers:
    """Scores and label sets of clips that may have several, see :func:`mmav.evaluation.class_scores.answers_of`.

    Args:
        rows: See :func:`save_predictions`.
        part: Which part of the label.
        path: The file.

    Raises:
        MmavError: Clips have scores of different numbers of classes, or a label that is none of them.
    """
    scores = [row['scores'][part] for row in rows]
    if len({len(each) for each in scores}) != 1:
        raise MmavError(f"'{path}' has clips of different numbers of classes")
    table = np.array(scores)
    truth = multi_hot([row['label'][part] for row in rows], table.shape[1])
    return answers_of(table, truth, np.array([row['broken'] is not None for row in rows]))


def accuracy_of(
    rows: Sequence[dict], topk: Sequence[int] = (1, 5), path: str | Path = 'the predictions'
) -> dict[str, float]:
    """Top-k accuracies of predictions, or the scores of clips with sets of labels; broken clips count as wrong.

    As :class:`mmav.evaluation.Accuracy` gives, or :class:`mmav.evaluation.ActionAccuracy` where a label has several
    parts, or :class:`mmav.evaluation.MultiLabelMetric`.

    Args:
        rows: See :func:`save_predictions`.
        topk: The values of k.
        path: The file.

    Raises:
        MmavError: The clips have no labels.
    """
    require_labels(rows, path)
    parts = list(rows[0]['label'])
    if is_multi_label(rows):
        each = {part: multi_label_scores(answers_in(rows, part, path)) for part in parts}
        return {
            name if len(parts) == 1 else f'{part}_{name}': value
            for part, scores in each.items()
            for name, value in scores.items()
        }
    ranks = [ranks_of_clip(row['scores'], row['label']) for row in rows if row['broken'] is None]
    tasks = {f'{part}_': part for part in (*parts, ACTION)} if len(parts) > 1 else {'': parts[0]}
    return {
        f'{name}top{k}': sum(rank[task] < k for rank in ranks) / len(rows) for name, task in tasks.items() for k in topk
    }
