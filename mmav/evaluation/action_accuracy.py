"""Accuracy of verbs, nouns and actions, as the action recognition challenge of EPIC-Kitchens-100 defines them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmav.errors import MmavError
from mmav.evaluation.accuracy import checked_topk, log_broken, one_label, ranks_of_clip
from mmav.registry import METRICS
from mmav.structures import ACTION

PARTS = ('verb', 'noun')
TASKS = (*PARTS, ACTION)


def participant_of(path: str | Path) -> str:
    """The participant of a clip: the part of its file name before the first underscore.

    This matches the names of EPIC-Kitchens, both of untrimmed videos and of clips cut from them.

    >>> participant_of('clips/P18_07_12.mp4'), participant_of('P32/P32_01.MP4')
    ('P18', 'P32')
    """
    return Path(path).stem.partition('_')[0]


def read_ids(values: str | Sequence[Any], data_root: str = '') -> frozenset[str]:
    """Reads a list of classes or participants.

    Args:
        values: The list, or a CSV file whose first column it is, under a header, as epic-kitchens/C1-Action-Recognition
            has them in ``annotations`` (``EPIC_100_tail_verbs.csv`` and the like).
        data_root: Folder that the path of a file is relative to.

    Raises:
        MmavError: The file cannot be read, or has no header.
    """
    if not isinstance(values, str):
        return frozenset(str(value) for value in values)
    path = Path(data_root).expanduser() / Path(values).expanduser()
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MmavError(f"'{path}' cannot be read: give a CSV file with a header, or the list itself") from error
    header, *cells = [line.partition(',')[0].strip() for line in lines] or ['']
    if any(letter.isdigit() for letter in header):
        raise MmavError(f"'{path}': row 1: {header!r} is no header; the first row must name the columns, e.g. verb")
    return frozenset(cell for cell in cells if cell)


@METRICS.register_module()
class ActionAccuracy(BaseMetric):
    """Top-k accuracy of verbs, nouns and actions.

    An action is a verb and a noun; its score is the product of their probabilities, and it is correct only if both are.
    The definitions, including the subsets, are those of epic-kitchens/C1-Action-Recognition, utils/metrics.py and
    utils/scoring.py, except that ties always count against the prediction.

    Results in [0, 1]: ``verb_top1``, ``noun_top1``, ``action_top1``, ``verb_top5`` ...; the same of subsets where
    their lists are given, such as ``tail_verb_top1`` (clips whose verb is a tail class; likewise nouns; a tail action
    has one or both) and ``unseen_action_top1`` (clips of unseen participants, see :func:`participant_of`). A subset
    without a clip has no result and is logged. ``broken`` is the number of clips that could not be read; they count as
    wrong and are logged by name.

    Args:
        topk: The values of k.
        tail_verbs: Tail classes among the verbs, their indices or a file, see :func:`read_ids`.
        tail_nouns: Tail classes among the nouns.
        unseen_participants: Participants who are not in the training set, such as ``['P18', 'P32']``, or a file.
        data_root: Folder that the paths of these files are relative to; ``--data-root`` of the tools sets it.
        collect_device: As in :class:`mmav.evaluation.Accuracy`.
        prefix: Put before the names of the results.

    Raises:
        ValueError: A k is not positive.
        MmavError: A file cannot be read.
    """

    parts: ClassVar = PARTS  # what it measures
    multi_label: ClassVar = False

    def __init__(
        self,
        topk: int | Sequence[int] = (1, 5),
        *,
        tail_verbs: str | Sequence[int] = (),
        tail_nouns: str | Sequence[int] = (),
        unseen_participants: str | Sequence[str] = (),
        data_root: str = '',
        collect_device: str = 'gpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix='accuracy')  # MMEngine warns where there is no prefix
        self.prefix = prefix
        self.topk = checked_topk(topk)
        self.tail_verbs, self.tail_nouns = (read_ids(classes, data_root) for classes in (tail_verbs, tail_nouns))
        self.unseen_participants = read_ids(unseen_participants, data_root)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes a batch: dicts with ``pred_verb_score`` (V,), ``pred_noun_score`` (N,), ``gt_verb``, ``gt_noun``."""
        for sample in data_samples:
            truth = {part: one_label(sample, part, type(self).__name__) for part in PARTS}
            ranks = ranks_of_clip(
                {part: sample[f'pred_{part}_score'].detach().float().cpu().numpy() for part in truth}, truth
            )
            self.results.append((ranks, truth, str(sample['path']), sample.get('broken')))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Turns the ranks of all clips into accuracies."""
        broken = log_broken((path, reason) for _, _, path, reason in results)
        ranks = np.array([[rank[task] for task in TASKS] for rank, _, _, _ in results], dtype=float)  # (clips, tasks)
        ranks[[reason is not None for _, _, _, reason in results]] = np.inf
        metrics: dict[str, float] = {}
        for prefix, members in self._subsets(results).items():
            for task, belongs in members.items():
                chosen = ranks[belongs, TASKS.index(task)]
                if not len(chosen):
                    print_log(f'no clip is of the subset {prefix}{task}', 'current', level=logging.WARNING)
                    continue
                metrics.update({f'{prefix}{task}_top{k}': float((chosen < k).mean()) for k in self.topk})
        metrics['broken'] = broken
        return metrics

    def _subsets(self, results: list) -> dict[str, dict[str, np.ndarray]]:
        """Prefix -> task -> (clips,), True for clips of the subset."""
        subsets = {'': dict.fromkeys(TASKS, np.ones(len(results), dtype=bool))}
        if self.tail_verbs or self.tail_nouns:
            subsets['tail_'] = {}
            verbs = np.array([str(truth['verb']) in self.tail_verbs for _, truth, _, _ in results])
            nouns = np.array([str(truth['noun']) in self.tail_nouns for _, truth, _, _ in results])
            if self.tail_verbs:
                subsets['tail_']['verb'] = verbs
            if self.tail_nouns:
                subsets['tail_']['noun'] = nouns
            subsets['tail_']['action'] = verbs | nouns
        if self.unseen_participants:
            unseen = np.array([participant_of(path) in self.unseen_participants for _, _, path, _ in results])
            subsets['unseen_'] = dict.fromkeys(TASKS, unseen)
        return subsets
