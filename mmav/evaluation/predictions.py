"""Predictions as a file: written in testing, averaged and drawn afterwards."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmav.errors import MmavError
from mmav.evaluation.accuracy import rank_of_label
from mmav.evaluation.action_accuracy import TASKS, ranks_of_clip
from mmav.outputs import write_output
from mmav.registry import METRICS

_FIELDS = ('path', 'start', 'end', 'label', 'scores', 'broken', 'sample_idx')
_SAFE = {
    ('numpy', 'ndarray'),
    ('numpy', 'dtype'),
    ('numpy.core.multiarray', '_reconstruct'),
    ('numpy._core.multiarray', '_reconstruct'),
    ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.numeric', '_frombuffer'),
}


Classes = Sequence[str] | Mapping[str, Sequence[str]]


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in types and numpy arrays; whatever else a pickle names could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed')
        return super().find_class(module, name)


def save_predictions(path: str | Path, rows: Sequence[dict], classes: Classes | None = None) -> None:
    """Writes predictions.

    Args:
        path: A file name, usually ending in .pkl.
        rows: One dict a clip: ``path``; ``start``, ``end`` in seconds or None; ``label``, the true class; ``scores``
            (C,) float32 probabilities; ``broken``, why the clip could not be read, or None; ``sample_idx``, the row of
            the manifest from 0; ``feature`` (D,) float32 and ``features``, name -> (D,) float32, where the model keeps
            them. Of clips with a verb and a noun
            ``label`` and ``scores`` are dicts, ``verb`` and ``noun`` -> what they are of one label.
        classes: Names of the classes, of clips with a verb and a noun a dict of both lists.
    """
    names: Any = classes
    if isinstance(classes, Mapping):
        names = {part: [str(name) for name in each] for part, each in classes.items()}
    elif classes is not None:
        names = [str(name) for name in classes]
    write_output(path, pickle.dumps(dict(classes=names, rows=list(rows)), protocol=4))


def load_predictions(path: str | Path) -> tuple[list[dict], Any]:
    """Reads predictions; a pickle that could run code is refused.

    Returns:
        The rows and the class names (None if it has none), see :func:`save_predictions`.

    Raises:
        MmavError: No such file, or not one of predictions.
    """
    try:
        with open(path, 'rb') as file:
            content = _PlainUnpickler(file).load()
        rows, classes = content['rows'], content['classes']
        complete = bool(rows) and all(field in row for row in rows for field in _FIELDS)
    except FileNotFoundError as error:
        raise MmavError(f"no file '{path}': write one with tools/test.py ... --dump {path}") from error
    except Exception as error:  # a pickle can fail in any way
        raise MmavError(f"'{path}' is not a file of predictions: {error}") from error
    if not complete:
        raise MmavError(f"'{path}' is not a file of predictions: it has no rows with {', '.join(_FIELDS)}")
    return rows, classes


def read_features(path: str | Path, part: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Reads the features that a model kept, of all clips that could be read.

    Args:
        path: File of predictions.
        part: Which label, 'verb' or 'noun', of clips that have both.

    Returns:
        Features (clips, D) and labels (clips,).

    Raises:
        MmavError: No such file, it has no features, or its clips do not have this label.
    """
    rows = [row for row in load_predictions(path)[0] if row['broken'] is None]
    if any('feature' not in row for row in rows):
        raise no_features(path)
    labels = labels_of(rows, part, path)
    return np.array([row['feature'] for row in rows]), labels


def no_features(path: str | Path) -> MmavError:
    """The error of a file that was dumped without features."""
    return MmavError(f"'{path}' has no features: dump it with --cfg-options model.keep_features=True")


def labels_of(rows: Sequence[dict], part: str | None, path: str | Path) -> np.ndarray:
    """The classes (clips,) of one label; ``part`` is 'verb' or 'noun' of clips that have both, else None.

    Raises:
        MmavError: The clips of this file do not have this label.
    """
    if any(isinstance(row['label'], dict) != (part is not None) for row in rows):
        wanted = 'no --part, its clips have one label' if part else '--part verb or --part noun'
        raise MmavError(f"'{path}' needs {wanted}")
    return np.array([row['label'][part] if part else row['label'] for row in rows], dtype=int)


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
        # a model that could not read the clip has no say in it
        heard = [i for i, row in enumerate(rows) if row['broken'] is None and shares[i] > 0] or list(range(len(rows)))
        weights_heard = shares[heard] / (shares[heard].sum() or 1.0)
        if isinstance(first['scores'], dict):
            parts = {part: [rows[i]['scores'][part] for i in heard] for part in first['scores']}
            scores: Any = {part: _weighted(values, weights_heard) for part, values in parts.items()}
        else:
            scores = _weighted([rows[i]['scores'] for i in heard], weights_heard)
        broken = first['broken'] if all(row['broken'] is not None for row in rows) else None
        row = {name: value for name, value in first.items() if name not in ('feature', 'features')}  # of one model only
        averaged.append({**row, 'scores': scores, 'broken': broken})
    return averaged


def _sizes(row: dict) -> Any:
    scores = row['scores']
    return {part: len(values) for part, values in scores.items()} if isinstance(scores, dict) else len(scores)


def _weighted(scores: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.average(scores, axis=0, weights=weights).astype(np.float32)


def clip_key(row: dict) -> tuple[int, str]:
    """What tells one clip from another: its row in the manifest and its file's name.

    Not the folder, which may have moved; not start and end, since one model may look at less of a clip than another.
    """
    return row['sample_idx'], Path(row['path']).name


def accuracy_of(rows: Sequence[dict], topk: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Top-k accuracies of predictions, broken clips counted as wrong.

    As :class:`mmav.evaluation.Accuracy` gives, or :class:`mmav.evaluation.ActionAccuracy` of clips with a verb and a
    noun.
    """
    whole = [row for row in rows if row['broken'] is None]
    if isinstance(rows[0]['label'], dict):
        table = np.array([ranks_of_clip(row['scores'], row['label']) for row in whole]).reshape(-1, len(TASKS))
        ranks = {f'{task}_': table[:, column] for column, task in enumerate(TASKS)}
    else:
        ranks = {'': np.array([rank_of_label(row['scores'], row['label']) for row in whole])}
    return {f'{task}top{k}': float((each < k).sum() / len(rows)) for task, each in ranks.items() for k in topk}


def as_actions(rows: Sequence[dict], classes: Any = None) -> tuple[list[dict], list[str] | None]:
    """Turns predictions of a verb and a noun into those of one label, the action; leaves others as they are.

    Returns:
        Rows with ``scores`` (V * N,), and the names of the actions.
    """
    if not rows or not isinstance(rows[0]['label'], dict):
        return list(rows), classes
    actions = []
    for row in rows:
        verb, noun = row['scores']['verb'], row['scores']['noun']
        label = row['label']['verb'] * len(noun) + row['label']['noun']
        actions.append({**row, 'label': label, 'scores': np.outer(verb, noun).ravel()})
    names = classes and [f'{verb} {noun}' for verb in classes['verb'] for noun in classes['noun']]
    return actions, names


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
            label: Any = {part: int(sample[f'gt_{part}']) for part in ('verb', 'noun') if f'gt_{part}' in sample}
            scores: Any = {part: _numpy(sample[f'pred_{part}_score']) for part in label}
            if not label:
                label, scores = int(sample['gt_label']), _numpy(sample['pred_score'])
            features: dict[str, Any] = dict(feature=_numpy(sample['feature'])) if 'feature' in sample else {}
            if 'features' in sample:
                features['features'] = {name: _numpy(value) for name, value in sample['features'].items()}
            self.results.append(
                dict(
                    path=str(sample['path']),
                    # a clip that could not be read may have no span
                    start=None if sample['start'] is None else float(sample['start']),
                    end=None if sample['end'] is None else float(sample['end']),
                    label=label,
                    scores=scores,
                    broken=sample['broken'],
                    sample_idx=int(sample['sample_idx']),
                    **features,
                )
            )

    def compute_metrics(self, results: list) -> dict:
        """Writes the file; no numbers. Where it cannot be written :attr:`failure` says so: the test's numbers count."""
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
