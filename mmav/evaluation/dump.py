"""The metric that writes the predictions of a test to a file, for what is computed from them afterwards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from mmav.errors import MmavError
from mmav.evaluation.predictions import save_predictions
from mmav.registry import METRICS
from mmav.structures import predicted_parts, score_key


def labels_in(sample: Mapping[str, Any], parts: Sequence[str]) -> dict[str, int | tuple[int, ...]]:
    """The truth of a clip: part -> its class, or a tuple of its classes; no part where the clip is not labelled.

    Args:
        sample: With ``gt_label``, or multi-hot ``gt_score`` (C,) where clips may have several; or those of the parts.
        parts: Of the label.

    Raises:
        MmavError: It has labels of some parts only.
    """
    labels: dict[str, int | tuple[int, ...]] = {}
    for part in parts:
        score = sample.get(f'gt_{score_key(part)}')
        if f'gt_{part}' in sample:
            labels[part] = int(sample[f'gt_{part}'])
        elif score is not None:
            labels[part] = tuple(score.nonzero().flatten().tolist())
    if labels and len(labels) < len(parts):
        missing = ' and '.join(part for part in parts if part not in labels)
        raise MmavError(f'{sample.get("path")} has no {missing}: label all parts that the model predicts, or none')
    return labels


@METRICS.register_module()
class DumpPredictions(BaseMetric):
    """Writes the predictions of a test to a file, see :func:`mmav.evaluation.predictions.save_predictions`.

    Clips need no labels.

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
                    label=labels_in(sample, parts),
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
