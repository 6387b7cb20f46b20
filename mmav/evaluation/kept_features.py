"""What metrics on features have in common: they read what a model keeps, which its config must ask for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.config.check import checks
from mmav.config.signatures import call_signature
from mmav.errors import MmavError, did_you_mean
from mmav.evaluation.accuracy import one_label
from mmav.registry import METRICS, MODELS

LAST = 'feature'  # the input of the last layer, independent of the names of its streams


class FeatureMetric(BaseMetric):
    """Base of the metrics on features; a subclass has :meth:`measure`.

    It needs a model that keeps its features, ``model=dict(keep_features=True)``. Clips that could not be read, that
    lack a modality whose feature is measured or whose features are not finite are left out; the log says how many.

    Args:
        features: Names of the features: ``feature``, what the last layer reads, and those by name, such as ``audio``,
            ``video`` and ``fused``.
        part: Which part of the label: 'label' where clips have one, else such as 'verb'.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: No feature is named, or the features are one text.
    """

    needs_features: ClassVar = True
    multi_label: ClassVar[bool | None] = False  # it needs one class of each clip; None: it takes any number

    def __init__(
        self,
        features: Sequence[str] = (LAST,),
        part: str = 'label',
        *,
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='features')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        if isinstance(features, str) or not features:
            raise ValueError(f"features={features!r}: give a list of names, such as ['audio', 'video']")
        self.features, self.part = tuple(features), part
        self.parts = (part,)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch: dicts with ``feature``, ``features``, ``gt_label`` (or that of the part) and ``broken``."""
        for sample in data_samples:
            if LAST not in sample:
                raise MmavError(f'{type(self).__name__} needs features: set model.keep_features=True')
            held = {**sample.get('features', {}), LAST: sample[LAST]}
            kept = {name: held[name].detach().float().cpu().numpy() for name in self.features if name in held}
            clip = (self.label_of(sample), str(sample.get('path')), sample.get('broken'))
            self.results.append((kept, *clip, tuple(held)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Measures the clips that have every feature."""
        seen = list(dict.fromkeys(name for *_, names in results for name in names))
        wanted = self.choose(seen)
        for name in wanted:
            if name not in seen:
                raise MmavError(
                    f'{type(self).__name__}: no clip has the feature {name!r}, only {", ".join(seen)}'
                    f'{did_you_mean(name, seen)}'
                )
        reasons = Counter(_flaw(kept, wanted, broken) for kept, _, _, broken, _ in results)
        whole = [result for result in results if _flaw(result[0], wanted, result[3]) is None]
        left_out = ', '.join(f'{number} {why}' for why, number in reasons.items() if why)
        if left_out:
            print_log(f'{type(self).__name__}: left out: {left_out}', 'current', level=logging.WARNING)
        if not whole:
            raise MmavError(f'{type(self).__name__}: no clip has the features {", ".join(wanted)}')
        features = {name: np.array([kept[name] for kept, *_ in whole]) for name in wanted}
        return self.measure(features, np.array([label for _, label, *_ in whole]), [path for _, _, path, *_ in whole])

    def label_of(self, sample: Mapping[str, Any]) -> int | None:
        """The class of a clip; None of one with any number of them, of metrics that take such clips.

        Raises:
            MmavError: The clip does not have one class.
        """
        return one_label(sample, self.part, type(self).__name__)

    def choose(self, seen: Sequence[str]) -> Sequence[str]:
        """The features to measure, of the names that the clips have."""
        return self.features

    def measure(self, features: Mapping[str, np.ndarray], labels: np.ndarray, paths: Sequence[str]) -> dict[str, float]:
        """The results.

        Args:
            features: Name -> (N, D), in the order asked for.
            labels: Classes (N,).
            paths: File of each of the N clips.
        """
        raise NotImplementedError


def result_name(feature: str, measure: str) -> str:
    """Name of a result, which says of which feature it is, unless it is of what the last layer reads.

    >>> result_name('feature', 'knn_top1'), result_name('audio', 'knn_top1')
    ('knn_top1', 'audio_knn_top1')
    """
    return measure if feature == LAST else f'{feature}_{measure}'


def _flaw(kept: Mapping[str, np.ndarray], wanted: Sequence[str], broken: str | None) -> str | None:
    """Why a clip is left out, or None if it is not."""
    if broken is not None:
        return 'could not be read'
    if any(name not in kept for name in wanted):
        return 'without a feature'
    return None if all(np.isfinite(kept[name]).all() for name in wanted) else 'not finite'


@checks(None)
def _features_are_kept(cfg: Config) -> Iterator[str]:
    """A metric on features and a model that keeps none: found before training rather than at its first validation."""
    model = cfg.get('model')
    if not isinstance(model, dict):  # refused elsewhere
        return
    keeps = MODELS.get(model.get('type')) if isinstance(model.get('type'), str) else None
    if keeps is None or 'keep_features' not in call_signature(keeps).names or model.get('keep_features'):
        return
    for name in ('val_evaluator', 'test_evaluator'):
        given = cfg.get(name) or []
        given = given.get('metrics', given) if isinstance(given, dict) else given
        for metric in [given] if isinstance(given, dict) else given:
            kind = metric.get('type') if isinstance(metric, dict) else None
            if isinstance(kind, str) and getattr(METRICS.get(kind), 'needs_features', False):
                yield f'{name}: {kind} needs features: set model.keep_features=True'
