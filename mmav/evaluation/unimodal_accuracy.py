"""The accuracy of each modality alone, from the heads that a model has for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.evaluator import BaseMetric

from mmav.errors import MmavError
from mmav.evaluation.accuracy import checked_topk, one_label, rank_of_label
from mmav.registry import METRICS


@METRICS.register_module()
class UnimodalAccuracy(BaseMetric):
    """How often what a modality alone gives is right, beside the metric of the whole model.

    The model needs :class:`~mmav.models.UnimodalHeads` with ``in_testing=True``. Results: ``video/top1`` and so on, of
    verbs and nouns ``video/verb_top1``, over the clips that have the modality; clips that could not be read have none.

    Args:
        topk: The values of k.
        collect_device: How processes exchange results, see MMEngine's ``BaseMetric``.
        prefix: Put before the names of the results.

    Raises:
        ValueError: A k is not positive.
    """

    multi_label: ClassVar = False

    def __init__(
        self, topk: int | Sequence[int] = (1,), *, collect_device: str = 'gpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='unimodal')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.topk = checked_topk(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch of predictions: dicts with ``alone``, modality and part -> (C,), and the labels.

        Raises:
            MmavError: The model does not write ``alone``.
        """
        for sample in data_samples:
            if 'alone' not in sample:
                raise MmavError(
                    'UnimodalAccuracy needs what each modality alone gives: give the model auxiliary=dict(alone=dict('
                    "type='UnimodalHeads', in_testing=True)), as it was trained with"
                )
            ranks = {}
            for name, scores in sample['alone'].items() if sample.get('broken') is None else ():
                modality, part = name.split('/')
                label = one_label(sample, part, type(self).__name__)
                key = modality if part == 'label' else f'{modality}/{part}'
                ranks[key] = rank_of_label(scores.detach().float().cpu().numpy(), label)
            self.results.append(ranks)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turns the ranks of all clips into accuracies."""
        metrics = {}
        for key in dict.fromkeys(key for ranks in results for key in ranks):
            found = [ranks[key] for ranks in results if key in ranks]
            name = f'{key}/' if '/' not in key else f'{key}_'
            metrics.update({f'{name}top{k}': sum(rank < k for rank in found) / len(found) for k in self.topk})
        return metrics
