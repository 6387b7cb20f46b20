"""What the predictions under each condition say: scores, how the clips divide, whom the model follows, each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED
from mmav.errors import MmavError
from mmav.evaluation.accuracy import ranks_of_clip
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.class_scores import multi_hot, ranking_scores
from mmav.evaluation.intervals import accuracy_interval, difference_interval, sign_test
from mmav.evaluation.label_sets import LabelSets
from mmav.evaluation.map_bootstrap import compare_map
from mmav.evaluation.multi_label import hits_of
from mmav.evaluation.predictions import Classes, answers_in, by_clip, is_multi_label, refuse_twice, require_labels
from mmav.structures import ACTION

Conditions = Mapping[str, Sequence[dict | None]]
_RESAMPLES, _RESAMPLES_OF_CLASS = 200, 2000  # of differences of mAP, and of a class
# of the clips: right with either modality alone and with both, with both and one alone, only with both together, with
# one alone and not with both, and never
CASES = ('either', 'first', 'second', 'synergy', 'confusion', 'never')


def load_conditions(both: str | Path, alone: Mapping[str, str | Path]) -> tuple[dict[str, list], Any, dict[str, int]]:
    """Reads the dumps of three tests.

    Args:
        both: The dump of the test with both modalities.
        alone: Of both modalities, that of the test with it alone.

    Returns:
        Condition -> rows of the clips that all have; part of the label -> names, or None; and how many clips of each
        dump are left out, as another lacks them.

    Raises:
        MmavError: A file is missing or wrong, or they are of other classes, labels or clips.
    """
    paths = {BOTH: both, **alone}
    refuse_twice(paths.values())
    dumps = dict(zip(paths, load_alike(list(paths.values())), strict=True))
    for name, (rows, _) in dumps.items():
        require_labels(rows, paths[name])
    tables = {name: by_clip(rows, f"'{paths[name]}'") for name, (rows, _) in dumps.items()}
    shared = [key for key in tables[BOTH] if all(key in table for table in tables.values())]
    if not shared:
        raise MmavError(f'{", ".join(map(repr, map(str, paths.values())))} have no clip in common')
    for name, table in tables.items():
        odd = next((key for key in shared if table[key]['label'] != tables[BOTH][key]['label']), None)
        if odd is not None:
            raise MmavError(f"'{both}' and '{paths[name]}' differ in the label of {odd[1]}")
    found = {name: [table[key] for key in shared] for name, table in tables.items()}
    lost = {str(paths[name]): len(table) - len(shared) for name, table in tables.items() if len(table) > len(shared)}
    return found, next((names for _, names in dumps.values() if names), None), lost


def modality_figures(rows: Conditions, classes: Classes | None, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Everything that the report says, of each part of the label, and of all together where there are several.

    Args:
        rows: Condition -> predictions of the same N clips, None where a clip has none; ``both`` and the two modalities,
            and ``shuffled`` and ``shuffled_same`` where there are.
        classes: Part -> names of the classes.
        names: The two modalities; the second is the one that is exchanged.

    Returns:
        For each part ``part``; ``clips``, ``broken``, those that could not be read with both, ``unlabelled``, those
        with an empty set of labels, which are in none of the shares; ``multi_label``; ``majority``, the score of always
        naming the commonest class; ``learned``, whether the model is better than that beyond chance, with both
        modalities or with one, or, of several labels, its mAP than that of equal scores; ``scores``, condition ->
        ``clips``, ``right``, ``score`` (top-1, or hit@1 where clips may have several labels: their most probable class
        is one of them), ``interval`` (95 %, Wilson), and ``mAP`` of several labels; ``gains``, what both have over each
        modality alone and over the shuffled: ``clips``, ``difference``, ``interval`` (95 %, paired bootstrap),
        ``p_value`` (sign test), and difference and interval of ``mAP``; ``cases``, of :data:`CASES` ``clips``,
        ``share``, ``interval``; ``confusion``, modality -> the share of clips that it alone gets right and both
        together wrong; ``follows``, where sound was exchanged between clips of different labels, and None where none
        was; ``classes``.

    Raises:
        MmavError: The clips have no labels.
    """
    whole = [row for row in rows[BOTH] if row is not None]
    require_labels(whole)
    parts, multi = list(whole[0]['label']), is_multi_label(whole)
    asked = [*parts, *([ACTION] if len(parts) > 1 and not multi else [])]
    return [_of_part(rows, part, classes, names, multi=multi) for part in asked]


def _of_part(
    rows: Conditions, part: str, classes: Classes | None, names: tuple[str, str], *, multi: bool
) -> dict[str, Any]:
    whole = [row for row in rows[BOTH] if row is not None]
    labels = [_labels(row, part) for row in whole]
    kept = np.array([bool(each) for each in labels])
    right = {name: _right(each, part) for name, each in rows.items()}
    there = {name: np.array([row is not None for row in each]) & kept for name, each in rows.items()}
    scores: dict[str, Any] = {}
    for name in rows:
        clips, hits = int(there[name].sum()), int(right[name][there[name]].sum())
        scores[name] = dict(
            clips=clips, right=hits, score=_over(hits, clips), interval=list(accuracy_interval(hits, clips))
        )
        if multi:
            scores[name]['mAP'] = mean_average_precision([row for row in rows[name] if row is not None], part)
    gains = {}
    for name in rows:
        if name != BOTH:
            shared = there[BOTH] & there[name]
            mine, theirs = right[BOTH][shared], right[name][shared]
            won, lost, clips = int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), int(shared.sum())
            interval = list(difference_interval(won, lost, clips))
            gains[name] = dict(
                clips=clips, difference=_over(won - lost, clips), interval=interval, p_value=sign_test(won, lost)
            )
            if multi:
                gains[name]['mAP'] = _map_gain(rows, name, part)
    both, one, two = (right[name][kept] for name in (BOTH, *names))
    cases = dict(
        either=both & one & two,
        first=both & one & ~two,
        second=both & ~one & two,
        synergy=both & ~one & ~two,
        confusion=~both & (one | two),
        never=~both & ~one & ~two,
    )
    counted = Counter(label for each in labels for label in each)
    majority = _over(max(counted.values(), default=0), int(kept.sum()))
    learned = any(scores[name]['interval'][0] > majority for name in (BOTH, *names)) or (
        multi and any(_beats_equal_scores(rows[name], part) for name in (BOTH, *names))
    )
    return dict(
        part=part,
        clips=int(kept.sum()),
        broken=sum(row['broken'] is not None for row in whole),
        unlabelled=int((~kept).sum()),
        multi_label=multi,
        majority=majority,
        learned=learned,
        scores=scores,
        gains=gains,
        cases={name: _share(each) for name, each in cases.items()},
        confusion={name: _share(~both & alone) for name, alone in zip(names, (one, two), strict=True)},
        follows=_follows(rows.get(SHUFFLED), part, names),
        classes=_classes(rows, right, labels, part, classes, names, multi=multi) if part != ACTION else [],
    )


def _over(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _share(which: np.ndarray) -> dict[str, Any]:
    clips = int(which.sum())
    return dict(clips=clips, share=_over(clips, len(which)), interval=list(accuracy_interval(clips, len(which))))


def _labels(row: Mapping[str, Any], part: str, key: str = 'label') -> tuple[Any, ...]:
    """The classes of a clip; of all parts together a single one."""
    if part == ACTION and part not in row[key]:
        return (tuple(row[key].values()),)
    value = row[key][part]
    return value if isinstance(value, tuple) else (value,)


def _right(rows: Sequence[Mapping[str, Any] | None], part: str, key: str = 'label') -> np.ndarray:
    """Which clips are right at the first guess (N,); none that are missing or could not be read."""
    found = np.zeros(len(rows), dtype=bool)
    read = {place: {**row, 'label': row[key]} for place, row in enumerate(rows) if row and row['broken'] is None}
    if is_multi_label(list(read.values())):
        found[list(read)] = hits_of(answers_in(list(read.values()), part))
        return found
    for place, row in read.items():
        truth = {part: row['label'][part]} if part in row['label'] else row['label']
        found[place] = ranks_of_clip({name: row['scores'][name] for name in truth}, truth)[part] == 0
    return found


def mean_average_precision(rows: Sequence[Mapping[str, Any]], part: str) -> float | None:
    """mAP as :class:`mmav.evaluation.MultiLabelMetric` gives it; None where no class can be judged.

    Args:
        rows: Predictions of clips with sets of labels.
        part: Of the label.
    """
    values = class_precisions(rows, part)
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def class_precisions(rows: Sequence[Mapping[str, Any]], part: str) -> np.ndarray:
    """Average precision of each class (C,), NaN where all clips or none have it."""
    return ranking_scores(answers_in([dict(row) for row in rows], part))[0] if rows else np.array([])


def _map_gain(rows: Conditions, name: str, part: str) -> dict[str, Any] | None:
    """What both modalities have over a condition in mAP, on the clips of both; None where no class can be judged."""
    pairs = zip(rows[BOTH], rows[name], strict=True)
    shared = [(one, two) for one, two in pairs if one is not None and two is not None]
    sets = [_label_sets(each, part) for each in zip(*shared, strict=True)]
    if not sets or not sets[0].answers.judged.any():
        return None
    found = compare_map(*sets, resamples=_RESAMPLES)
    return dict(difference=found['difference'], interval=found['interval'])


def _beats_equal_scores(rows: Sequence[dict | None], part: str) -> bool:
    """Whether mAP is above that of a model that gives all clips the same scores, beyond chance."""
    equal = [row and {**row, 'scores': {part: np.zeros_like(row['scores'][part])}} for row in rows]
    gain = _map_gain({BOTH: rows, 'equal': equal}, 'equal', part)
    return gain is not None and gain['interval'][0] > 0


def _label_sets(rows: Sequence[Mapping[str, Any]], part: str) -> LabelSets:
    scores = np.array([row['scores'][part] for row in rows])
    keys = [(place, str(row['path'])) for place, row in enumerate(rows)]
    return LabelSets(
        part,
        keys,
        [str(row['path']) for row in rows],
        labels=multi_hot([row['label'][part] for row in rows], scores.shape[1]),
        scores=scores,
        broken=np.array([row['broken'] is not None for row in rows]),
        classes=list(map(str, range(scores.shape[1]))),
        named=False,
    )


def _follows(
    rows: Sequence[Mapping[str, Any] | None] | None, part: str, names: tuple[str, str]
) -> dict[str, Any] | None:
    """Whose label the answer is, where the two modalities are of clips without a label in common."""
    pairs = [row for row in rows or () if row is not None and row['broken'] is None]
    apart = []
    for row in pairs:
        own, other = _labels(row, part), _labels(row, part, 'partner_label')
        if own and other and not set(own) & set(other):
            apart.append(row)
    if not apart:
        return None
    seen, heard = _right(apart, part), _right(apart, part, 'partner_label')
    return {'clips': len(apart), names[0]: _share(seen), names[1]: _share(heard), 'neither': _share(~seen & ~heard)}


def _classes(
    rows: Conditions,
    right: Mapping[str, np.ndarray],
    labels: Sequence[tuple[int, ...]],
    part: str,
    classes: Classes | None,
    names: tuple[str, str],
    *,
    multi: bool,
) -> list[dict[str, Any]]:
    """Of each class with clips ``class``, ``clips``, its score with both and with each modality alone, and ``gain_...``
    of each modality: what both have over the other alone, with its 95 % ``interval_...`` and the
    ``p_value_...`` of a sign test. The score is the share of its
    clips that are right, or its average precision where clips have several labels, whose gain has neither. Those
    that gain most from either modality come first.
    """
    found = []
    whole = [row for row in rows[BOTH] if row is not None]
    size = len(whole[0]['scores'][part])
    conditions = (BOTH, *names)
    precisions = {name: class_precisions(_present(rows[name]), part) for name in conditions} if multi else {}
    members: dict[int, list[int]] = {}
    for place, each in enumerate(labels):
        for label in each:
            members.setdefault(label, []).append(place)
    for label, places in sorted(members.items()):
        if multi:
            values = {name: float(precisions[name][label]) for name in conditions}
            if not np.isfinite(list(values.values())).all():
                continue  # every clip has it
        else:
            values = {name: float(right[name][places].mean()) for name in conditions}
        gains: dict[str, Any] = {f'gain_{name}': values[BOTH] - values[_other(name, names)] for name in names}
        for name in names:
            mine, theirs = right[BOTH][places], right[_other(name, names)][places]
            won, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            interval = difference_interval(won, lost, len(places), resamples=_RESAMPLES_OF_CLASS)
            gains[f'interval_{name}'] = None if multi else list(interval)
            gains[f'p_value_{name}'] = None if multi else sign_test(won, lost)
        title = classes[part][label] if classes and len(classes[part]) == size else str(label)
        found.append({'class': title, 'clips': len(places), **values, **gains})
    return sorted(found, key=lambda row: -max(row[f'gain_{name}'] for name in names))


def _present(rows: Sequence[dict | None]) -> list[dict]:
    return [row for row in rows if row is not None]


def _other(name: str, names: tuple[str, str]) -> str:
    return names[1] if name == names[0] else names[0]


def clip_cases(rows: Conditions, part: str, names: tuple[str, str]) -> list[dict[str, Any]]:
    """Of each clip ``sample_idx``, ``path``, the case, one of :data:`CASES`, and whether it is right under each
    condition, None where it was not tested; and the partner under ``shuffled``.
    """
    right = {name: _right(each, part) for name, each in rows.items()}
    table = []
    for place, row in enumerate(rows[BOTH]):
        if row is None:
            continue
        both, one, two = (bool(right[name][place]) for name in (BOTH, *names))
        case = ('either' if one and two else 'first' if one else 'second' if two else 'synergy') if both else (
            'confusion' if one or two else 'never'
        )  # fmt: skip
        hits = {name: None if rows[name][place] is None else bool(right[name][place]) for name in rows}
        told = {'case': {'first': f'{names[0]} suffices', 'second': f'{names[1]} suffices'}.get(case, case)}
        shuffled = {name: rows[name][place] for name in (SHUFFLED, SAME) if name in rows}
        partner = {f'{name}_with': each['partner'] if each else None for name, each in shuffled.items()}
        table.append(dict(sample_idx=row['sample_idx'], path=row['path'], **told, **hits, **partner))
    return table
