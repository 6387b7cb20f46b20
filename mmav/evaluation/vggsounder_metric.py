"""VGGSounder's figures as a metric of a config."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.errors import MmavError
from mmav.evaluation.accuracy import log_broken
from mmav.evaluation.vggsounder import INPUTS, answers_of, subset_figures
from mmav.evaluation.vggsounder_list import read_list
from mmav.registry import METRICS
from mmav.structures import MODALITIES, as_parts


@METRICS.register_module()
class VGGSounder(BaseMetric):
    """The figures of VGGSounder (:mod:`mmav.evaluation.vggsounder`) in a test on VGGSound's test split.

    What the clips were read with tells which labels count: with video and sound those that are both audible and
    visible, ``av_hit_rate@1`` and so on; with sound alone (``--drop video``, or a model of audio) the audible ones, and
    those that are only audible: ``a_hit_rate@1``, ``a_only_hit_rate@1``; with video alone ``v`` and ``v_only``.
    ``clips`` is the number of clips of the list that were tested, ``missing`` that of the others. Modality confusion
    needs three tests: ``mmav evaluate-vggsounder`` computes it from their dumps.

    Args:
        labels: The list, a csv; None for the one of the installed package ``vggsounder``.
        only: Flags that a clip has to have, of ``background_music``, ``static_image`` and ``voice_over``.
        without: Flags that it must not have.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        MmavError: The list is missing or wrong, or no clip has these flags.
    """

    parts: ClassVar = ('label',)  # what it measures

    def __init__(
        self,
        labels: str | None = None,
        *,
        only: Sequence[str] = (),
        without: Sequence[str] = (),
        collect_device: str = 'gpu',
        prefix: str | None = 'vggsounder',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='vggsounder')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.listed = read_list(labels).chosen(only, without)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch: ``masks`` of what was read, modality -> (B,), and predictions with ``pred_score`` (C,)."""
        masks = data_batch['masks']
        for k, sample in enumerate(data_samples):
            scores = sample['pred_score'].detach().float().cpu().numpy()
            given = tuple(name for name in MODALITIES if name in masks and bool(masks[name][k]))
            self.results.append(
                dict(path=str(sample['path']), scores=dict(label=scores), broken=sample['broken'], given=given)
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turns the scores of all clips into the figures."""
        log_broken((row['path'], row['broken']) for row in results)
        given = {name for row in results for name in row['given']}
        if not given:
            raise MmavError('VGGSounder: none of the clips could be read')
        # a few clips of a test with both may lack one
        input_ = ''.join(name[0] for name in sorted(given))
        classes = as_parts((self.dataset_meta or {}).get('classes'))
        answers = answers_of(results, classes, self.listed, name='the test')
        found: dict[str, float] = dict(clips=len(answers.places), missing=len(answers.missing))
        for text, files in (('not in the list', answers.unlisted), ('not named <YouTube id>_<start>', answers.unknown)):
            if files:
                told = f'VGGSounder: {len(files)} clips are {text}, such as {files[0]}'
                print_log(told, 'current', level=logging.WARNING)
        for subset in INPUTS[input_]:
            figures = subset_figures(self.listed, answers, subset)
            if figures is None:
                print_log(f'VGGSounder: no clip has a label of {subset}', 'current', level=logging.WARNING)
                continue
            name = subset.replace(' ', '_')
            found |= {f'{name}_{key}': value for key, value in figures.items() if np.isfinite(value)}
        return found
