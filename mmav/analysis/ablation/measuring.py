"""What the rows of an ablation measured, clip by clip, for what is said about their differences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmav.analysis.ablation.outcomes import Outcome, Outcomes, fingerprint
from mmav.analysis.ablation.results import Gathered
from mmav.analysis.ablation.rows import Row
from mmav.analysis.evidence.splits import read_splits
from mmav.analysis.evidence.stated import EvidenceRow, Stated
from mmav.errors import MmavError
from mmav.evaluation.accuracy import ranks_of_clip
from mmav.evaluation.class_scores import answers_of, multi_hot
from mmav.evaluation.comparing import AnyMeasured, Measured, MeasuredBy, SharedRuns
from mmav.evaluation.multi_label import multi_label_scores
from mmav.evaluation.predictions import by_clip, is_multi_label, require_labels

_TOP = re.compile(r'(?:(\w+)_)?top([1-9]\d*)')
ALWAYS = ('mAP', 'AUC', 'd_prime', 'hit1', 'macro_f1', 'micro_f1')

Clips = list[dict[str, Any]]


def check_metric(metric: str) -> None:
    """Refuses, before anything runs, a metric by which rows could not be compared.

    Raises:
        MmavError: It is no figure of single clips, nor one that is computed anew for each draw of clips.
    """
    if not _TOP.fullmatch(metric) and not any(metric == name or metric.endswith(f'_{name}') for name in ALWAYS):
        raise _unknown('metric', metric, f'topK, or of clips with several labels {", ".join(ALWAYS)}')


def check_metric_of(cfg: Mapping[str, Any], metric: str, title: str) -> None:
    """Refuses, before anything runs, a metric that the labels of a row do not have, as far as its head tells.

    Args:
        cfg: Config of the row.
        metric: Key of the figure, see :func:`check_metric`.
        title: Of the row.

    Raises:
        MmavError: The metric belongs to labels of another kind, or is 1 whatever the model says.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    top = _TOP.fullmatch(metric)
    known = ''
    match head.get('type'):
        case 'ClsHead' if top is None or top[1] not in (None, 'label'):
            known = 'topK'
        case 'ClsHead' if top is not None and int(top[2]) >= (number := head.get('num_classes') or math.inf):
            raise MmavError(f'{title}: {metric} of {number} classes is 1 for any model: give a smaller K')
        case 'VerbNounHead' if top is not None and top[1] is None:
            known = f'verb_{metric}, noun_{metric} or action_{metric}'
        case 'MultiLabelHead' if top is not None:
            known = ', '.join(ALWAYS)
    if known:
        raise _unknown(title, metric, known)


def state(gathered: Gathered, metric: str, *, split_by: str | None = None) -> Stated:
    """All that a report is made from.

    A row of which a run was killed is compared with no other: the seeds that are left were selected by the figure.

    Args:
        gathered: The results.
        metric: Key of the figure.
        split_by: ``FILE:COLUMN`` of a table whose values part the clips, see
            :func:`~mmav.analysis.evidence.splits.read_splits`.

    Raises:
        MmavError: The metric has no value on a part of the clips, two rows were tested on different clips, or the table
            is wrong.
    """
    ablation = gathered.ablation
    if gathered.outcomes and gathered.known is not None and gathered.known.metric != metric:
        raise MmavError(
            f"'{gathered.known.source}' knows which clips are right by {gathered.known.metric!r}, not by {metric!r}: "
            'leave --known out, or compare by that metric'
        )
    order: dict[tuple[int, str], str] = {}
    rows = [_evidence(row, gathered, metric, order) for row in ablation.rows]
    if gathered.outcomes and gathered.known is not None and order and fingerprint(list(order)) != gathered.known.clips:
        raise MmavError(
            f"'{gathered.known.source}' is of another test list than the runs beside it: write the data anew as its "
            'page says, or leave --known out'
        )
    if split_by and not order:
        raise MmavError('--split-by needs the predictions of one run at least, not outcomes alone')
    return Stated(
        ablation.dataset,
        rows,
        ablation.comparisons,
        ablation.baseline,
        ablation.lines,
        metric,
        ablation.source,
        ablation.margin,
        read_splits(split_by, list(order.values())) if split_by else {},
    )


def _evidence(row: Row, gathered: Gathered, metric: str, order: dict[tuple[int, str], str]) -> EvidenceRow:
    stated = gathered.ablation.seeds_of(row)
    lost = {seed: why for seed in stated if (why := gathered.why_lost(row, seed)) is not None}
    seeds = [seed for seed in stated if seed not in lost]
    killed = any('killed' in why for why in lost.values())
    known = {} if killed else {seed: outcome for seed in seeds if (outcome := gathered.outcome(row, seed)) is not None}
    dumps = {
        seed: _in_order(gathered.predictions(row, seed), row, seed, order)
        for seed in seeds
        if not killed and seed not in known
    }
    if killed:
        lost.update(dict.fromkeys(seeds, 'not compared, as another seed of the row was killed'))
    seconds = {}
    for seed in stated:
        result = None if row.parts else gathered.result(row, seed)
        if result is not None and not result.killed:
            seconds[seed] = result.cpu_seconds
    measured: AnyMeasured | None = None
    if known:
        measured = _with_known(row.title, dumps, known, metric)
    elif dumps:
        measured = measured_of(row.title, list(dumps.values()), list(dumps), metric)
    if measured is not None and (shared := _shared(row, gathered, measured.seeds)) is not None:
        measured = replace(measured, shared=shared)
    # outcomes do not say it, and the answers of some seeds would be taken for those of all
    unread = {} if known else unanswered(list(dumps.values()))
    return EvidenceRow(row.title, measured, seconds, lost, unread)


def _shared(row: Row, gathered: Gathered, seeds: Sequence[int]) -> SharedRuns | None:
    """The runs that seeds of a row have in common, see :meth:`Gathered.runs_behind`; None if there are none."""
    parts = gathered.ablation.parts_of(row)
    twice = next((part for part in parts if parts.count(part) > 1), None)
    if twice is None:
        return None
    runs = [tuple(own for part, own in gathered.runs_behind(row, seed) if part == twice) for seed in seeds]
    return SharedRuns(twice.title, tuple(runs))


def _with_known(title: str, dumps: Mapping[int, Clips], known: Mapping[int, Outcome], metric: str) -> Measured:
    """Seeds of which some are known by their outcomes alone, in order."""
    values = {seed: outcome.right.astype(float) for seed, outcome in known.items()}
    for seed, clips in dumps.items():
        found = measured_of(title, [clips], [seed], metric)
        if not isinstance(found, Measured):
            raise MmavError(f'{title}: by {metric!r} a clip is not right or wrong: leave --known out')
        values[seed] = found.values[0]
    seeds = sorted(values)
    if len({len(values[seed]) for seed in seeds}) > 1:
        raise MmavError(f'{title}: its known runs are of another test list than the others: leave --known out')
    return Measured(title, np.stack([values[seed] for seed in seeds]), tuple(seeds))


def outcomes_of(gathered: Gathered, metric: str) -> Outcomes:
    """What can be kept of an ablation in a small file: which clips each run is right about.

    Args:
        gathered: The results.
        metric: Key of a figure by which a clip is right or wrong.

    Raises:
        MmavError: The metric is none of those, or no run has ended.
    """
    order: dict[tuple[int, str], str] = {}
    rows = {row: _evidence(row, gathered, metric, order) for row in gathered.ablation.rows}
    clips = fingerprint(list(order)) if order else gathered.known.clips if gathered.known else ''
    configs, runs, number = {}, {}, 0
    for row, evidence in rows.items():
        measured = evidence.measured
        if measured is None:
            continue
        if not isinstance(measured, Measured) or not measured.binary:
            raise MmavError(f'--keep: by {metric!r} a clip is not right or wrong: keep the work dir instead')
        number, configs[row.title] = measured.clips, row.config
        for seed, values in zip(measured.seeds, measured.values, strict=True):
            result = gathered.result(row, seed)
            seconds = None if row.parts or result is None else result.cpu_seconds
            digest = '' if row.parts or result is None else result.digest
            figures = result.figures if result is not None else {}
            runs[row.title, seed] = Outcome(
                values.astype(bool), digest, figures, seconds, gathered.named_parts(row, seed)
            )
    if not runs:
        raise MmavError('--keep: no run has ended')
    return Outcomes(metric, clips, number, configs, runs)


def measured_of(title: str, dumps: Sequence[Clips], seeds: Sequence[int], metric: str) -> AnyMeasured:
    """The values of a figure on each clip, or the figure as a function of clips.

    Args:
        title: Of the row.
        dumps: The clips of each seed, in one order.
        seeds: The seeds.
        metric: ``topK``, of several parts of the label ``verb_topK`` and ``action_topK``; of clips with sets of labels
            ``mAP``, ``AUC``, ``d_prime``, ``hit1``, ``macro_f1`` or ``micro_f1``, of one of several parts
            ``PART_mAP``.

    Raises:
        MmavError: The metric is none of these, or does not belong to labels of this kind.
    """
    require_labels(dumps[0], title)
    if is_multi_label(dumps[0]):
        share = not metric.endswith('d_prime')
        return MeasuredBy(title, _of_sets(title, dumps, metric), len(dumps[0]), tuple(seeds), share)
    found = _TOP.fullmatch(metric)
    if found is None:
        raise _unknown(title, metric, 'topK')
    task, k = found[1], int(found[2])
    values = np.zeros((len(dumps), len(dumps[0])))
    for place, clips in enumerate(dumps):
        for clip, row in enumerate(clips):
            if row['broken'] is not None:
                continue  # wrong
            ranks = ranks_of_clip(row['scores'], row['label'])
            part = task or (next(iter(ranks)) if len(ranks) == 1 else '')
            if part not in ranks:
                raise _unknown(title, metric, ', '.join(f'{name}_top{k}' for name in ranks))
            values[place, clip] = ranks[part] < k
    return Measured(title, values, tuple(seeds))


def unanswered(dumps: Sequence[Clips]) -> dict[str, int]:
    """Why clips have no answer -> how many answers of all seeds that are; they count as wrong."""
    unread, odd = 'of clips that could not be read', 'no finite scores'
    counts = {unread: 0, odd: 0}
    for row in (row for clips in dumps for row in clips):
        if row['broken'] is not None:
            counts[unread] += 1
        elif not all(np.isfinite(scores).all() for scores in row['scores'].values()):
            counts[odd] += 1
    return {why: number for why, number in counts.items() if number}


def _of_sets(title: str, dumps: Sequence[Clips], metric: str) -> Callable[[int, np.ndarray], float]:
    parts = list(dumps[0][0]['label'])
    name = next((each for each in ALWAYS if metric == each or metric.endswith(f'_{each}')), '')
    part = parts[0] if len(parts) == 1 and metric == name else metric.removesuffix(f'_{name}')
    if not name or part not in parts:
        known = ALWAYS if len(parts) == 1 else [f'{each}_{name}' for each in parts for name in ALWAYS]
        raise _unknown(title, metric, ', '.join(known))
    tables = []
    for clips in dumps:
        scores = np.array([row['scores'][part] for row in clips])
        truth = multi_hot([row['label'][part] for row in clips], scores.shape[1])
        tables.append((scores, truth, np.array([row['broken'] is not None for row in clips])))

    def figure(seed: int, places: np.ndarray) -> float:
        scores, truth, broken = (table[places] for table in tables[seed])
        return multi_label_scores(answers_of(scores, truth, broken))[name]

    return figure


def _in_order(clips: Clips, row: Row, seed: int, order: dict[tuple[int, str], str]) -> Clips:
    """Clips in the order of the first row's; sets ``order``, key -> path, if there is none yet."""
    what = f'{row.title}, seed {seed}'
    table = by_clip(clips, what)
    if not order:
        order.update((key, table[key]['path']) for key in sorted(table))
    if table.keys() != order.keys():
        odd = min(table.keys() ^ order.keys())
        raise MmavError(
            f'{what} was tested on other clips than the rows before: only one of them has {odd[1]}, row {odd[0]} of '
            'its list; compare rows of one test list'
        )
    return [table[key] for key in order]


def _unknown(title: str, metric: str, known: str) -> MmavError:
    return MmavError(
        f'{title}: the metric {metric!r} has no value for each clip, by which rows are compared: give {known}'
    )
