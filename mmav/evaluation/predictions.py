"""Predictions as a file: written in testing, averaged and drawn afterwards."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.engine.checkpoint_io import atomic_write
from mmav.errors import MmavError
from mmav.evaluation.accuracy import rank_of_label
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


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in types and numpy arrays; whatever else a pickle names could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f'{module}.{name} is not allowed')
        return super().find_class(module, name)


def save_predictions(path: str | Path, rows: Sequence[dict], classes: Sequence[str] | None = None) -> None:
    """Writes predictions.

    Args:
        path: A file name, usually ending in .pkl.
        rows: One dict a clip: ``path``; ``start``, ``end`` in seconds or None; ``label``, the true class; ``scores``
            (C,) float32 probabilities; ``broken``, why the clip could not be read, or None; ``sample_idx``, the row of
            the manifest from 0.
        classes: Names of the classes.
    """
    names = None if classes is None else [str(name) for name in classes]
    atomic_write(path, pickle.dumps(dict(classes=names, rows=list(rows)), protocol=4))


def load_predictions(path: str | Path) -> tuple[list[dict], list[str] | None]:
    """Reads predictions; a pickle that could run code is refused.

    Returns:
        The rows and the class names, see :func:`save_predictions`.

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
    tables = [{clip_key(row): row for row in dump} for dump in dumps]
    for name, dump, table in zip(names, dumps, tables, strict=True):
        if len(table) != len(dump):
            raise MmavError(f'{name} has a clip twice')
        if table.keys() != tables[0].keys():
            odd = next(iter(table.keys() ^ tables[0].keys()))
            raise MmavError(f'{names[0]} and {name} are of different clips: only one has {odd[1]} in row {odd[0]}')
    averaged = []
    for key, first in tables[0].items():
        rows = [table[key] for table in tables]
        if any(row['label'] != first['label'] or len(row['scores']) != len(first['scores']) for row in rows):
            raise MmavError(f'the models differ in the label or in the number of classes of {key}')
        # a model that could not read the clip has no say in it
        heard = [i for i, row in enumerate(rows) if row['broken'] is None and shares[i] > 0] or list(range(len(rows)))
        total = shares[heard].sum() or 1.0
        scores = sum(shares[i] * rows[i]['scores'] for i in heard) / total
        broken = first['broken'] if all(row['broken'] is not None for row in rows) else None
        averaged.append({**first, 'scores': np.asarray(scores, dtype=np.float32), 'broken': broken})
    return averaged


def clip_key(row: dict) -> tuple[int, str]:
    """What tells one clip from another: its row in the manifest and its file's name.

    Not the folder, which may have moved; not start and end, since one model may look at less of a clip than another.
    """
    return row['sample_idx'], Path(row['path']).name


def accuracy_of(rows: Sequence[dict], topk: Sequence[int] = (1, 5)) -> dict[str, float]:
    """Top-k accuracies of predictions, broken clips counted as wrong, as :class:`mmav.evaluation.Accuracy` gives."""
    ranks = np.array([rank_of_label(row['scores'], row['label']) for row in rows if row['broken'] is None])
    return {f'top{k}': float((ranks < k).sum() / len(rows)) for k in topk}


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

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch of predictions."""
        for sample in data_samples:
            self.results.append(
                dict(
                    path=str(sample['path']),
                    # a clip that could not be read may have no span
                    start=None if sample['start'] is None else float(sample['start']),
                    end=None if sample['end'] is None else float(sample['end']),
                    label=int(sample['gt_label']),
                    scores=sample['pred_score'].detach().float().cpu().numpy(),
                    broken=sample['broken'],
                    sample_idx=int(sample['sample_idx']),
                )
            )

    def compute_metrics(self, results: list) -> dict:
        """Writes the file; no numbers."""
        save_predictions(self.out_file, results, (self.dataset_meta or {}).get('classes'))
        print_log(f'Predictions of {len(results)} clips are in {self.out_file}', 'current')
        return {}
