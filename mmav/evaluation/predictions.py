"""Files of predictions: written in testing, averaged and plotted afterwards."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmav.errors import MmavError
from mmav.evaluation.accuracy import ranks_of_clip
from mmav.outputs import write_output
from mmav.registry import METRICS
from mmav.structures import ACTION, as_given, as_parts, predicted_parts, score_key

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
        rows: One dict a clip: ``path``; ``start``, ``end`` in seconds or None; ``label``, part -> the true class;
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
    return rows, as_parts(classes) if classes else None


def read_features(path: str | Path, part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the features that a model kept, of all clips that could be read.

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
    labels = labels_of(rows, part_of(rows, part, path))
    return np.array([row['feature'] for row in rows]), labels


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
        MmavError: The clips of this file do not have this part, or several and none is asked for.
    """
    parts = list(rows[0]['label']) if rows else [part or 'label']
    if len(parts) == 1:
        if part not in (None, *parts) or (part is not None and parts == ['label']):
            raise MmavError(f"'{path}' needs no --part, its clips have one label")
        return parts[0]
    known = [*parts, *([ACTION] if together else [])]
    if part not in known:
        raise MmavError(f"'{path}' needs --part {', '.join(known[:-1])} or {known[-1]}")
    return str(part)


def labels_of(rows: Sequence[dict], part: str) -> np.ndarray:
    """The classes (clips,) of one part of the label."""
    return np.array([row['label'][part] for row in rows], dtype=int)


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
        MmavError: The models did not see the same clips, labels or classes, or the weights do not fit.
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
        if any(row['label'] != first['label'] or _sizes(row) != _sizes(first) for row in rows):
            raise MmavError(f'the models differ in the label or in the number of classes of {key}')
        # a model that could not read the clip does not contribute
        heard = [i for i, row in enumerate(rows) if row['broken'] is None and shares[i] > 0] or list(range(len(rows)))
        weights_heard = shares[heard] / (shares[heard].sum() or 1.0)
        scores = {part: _weighted([rows[i]['scores'][part] for i in heard], weights_heard) for part in first['scores']}
        broken = first['broken'] if all(row['broken'] is not None for row in rows) else None
        row = {name: value for name, value in first.items() if name not in ('feature', 'features')}  # of one model only
        averaged.append({**row, 'scores': scores, 'broken': broken})
    return averaged


def _sizes(row: dict) -> dict[str, int]:
    return {part: len(values) for part, values in row['scores'].items()}


def _weighted(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.average(scores, axis=0, weights=weights).astype(np.float32)


def clip_key(row: dict) -> tuple[int, str]:
    """What identifies a clip: its row in the manifest and its file name.

    Not the folder, which may have moved; not start and end, as models may use different parts of a clip.
    """
    return row['sample_idx'], Path(row['path']).name


def accuracy_of(rows: Sequence[dict], topk: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Top-k accuracies of predictions, broken clips counted as wrong.

    As :class:`mmav.evaluation.Accuracy` gives, or :class:`mmav.evaluation.ActionAccuracy` where a label has several
    parts.
    """
    ranks = [ranks_of_clip(row['scores'], row['label']) for row in rows if row['broken'] is None]
    parts = list(rows[0]['label'])
    tasks = {f'{part}_': part for part in (*parts, ACTION)} if len(parts) > 1 else {'': parts[0]}
    return {
        f'{name}top{k}': sum(rank[task] < k for rank in ranks) / len(rows) for name, task in tasks.items() for k in topk
    }


def as_actions(rows: Sequence[dict], classes: Classes | None = None) -> tuple[list[dict], list[str] | None]:
    """Turns predictions into those of one part, ``label``: of a verb and a noun, the action.

    Returns:
        Rows with scores (V * N,), and the names of the actions.
    """
    actions = []
    for row in rows:
        sizes = list(_sizes(row).values())
        label = int(np.ravel_multi_index(list(row['label'].values()), sizes))
        scores = reduce(np.multiply.outer, row['scores'].values()).ravel()
        actions.append({**row, 'label': dict(label=label), 'scores': dict(label=scores)})
    return actions, action_names(list(classes.values())) if classes else None


def action_names(lists: Sequence[Sequence[str]]) -> list[str]:
    """Names of all combinations of parts, in the order of their joint scores.

    >>> action_names([['cut', 'wash'], ['cup', 'pan']])
    ['cut cup', 'cut pan', 'wash cup', 'wash pan']
    """
    return [' '.join(words) for words in product(*lists)]


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Writes the predictions of a test to a file, see :func:`save_predictions`.

    Args:
        out_file: Where to.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
    """

    def __init__(self, out_file: str, *, collect_device: str = 'gpu') -> None:
        super().__init__(collect_device=collect_device, prefix='dump')
        self.out_file = out_file
        self.failure: MmavError | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch of predictions."""
        for sample in data_samples:
            parts = predicted_parts(sample)
            features: dict[str, Any] = dict(feature=_numpy(sample['feature'])) if 'feature' in sample else {}
            if 'features' in sample:
                features['features'] = {name: _numpy(value) for name, value in sample['features'].items()}
            self.results.append(
                dict(
                    path=str(sample['path']),
                    # a clip that could not be read may have no span
                    start=None if sample['start'] is None else float(sample['start']),
                    end=None if sample['end'] is None else float(sample['end']),
                    label={part: int(sample[f'gt_{part}']) for part in parts},
                    scores={part: _numpy(sample[f'pred_{score_key(part)}']) for part in parts},
                    broken=sample['broken'],
                    sample_idx=int(sample['sample_idx']),
                    **features,
                )
            )

    def compute_metrics(self, results: list) -> dict:
        """Writes the file and returns no metrics. If writing fails, sets :attr:`failure`, so that metrics are kept."""
        try:
            save_predictions(self.out_file, results, (self.dataset_meta or {}).get('classes'))
        except MmavError as error:
            self.failure = error
            print_log(str(error), 'current', level=logging.ERROR)
            return {}
        print_log(f'Predictions of {len(results)} clips are in {self.out_file}', 'current')
        return {}


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().float().cpu().numpy()
