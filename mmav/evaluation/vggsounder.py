"""The figures of VGGSounder's benchmark, from predictions over VGGSound's classes (Zverev et al. 2025, "VGGSounder:
Audio-Visual Evaluations for Foundation Models"; the package ``vggsounder``, ``benchmark.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.class_names import shown, tell_difference
from mmav.errors import MmavError
from mmav.evaluation.predictions import Classes
from mmav.evaluation.vggsounder_list import FLAGS, LabelList, clip_id

TOPK = (1, 3, 5, 10)
# what a model was given -> the subsets of the labels that its answers are compared with
INPUTS: dict[str, tuple[str, ...]] = {'av': ('av',), 'a': ('a', 'a only'), 'v': ('v', 'v only')}
# those that are counted for the clips with and without each flag
_OF_FLAGS = ('hit_rate@1', 'f1@1')


@dataclass(frozen=True)
class Answers:
    """What a model says of the clips of a list.

    Attributes:
        places: Of the M clips that it was asked about, places in the list (M,), ascending.
        scores: (M, C) float64 in the list's order of the classes; zeros where there is no answer.
        answered: Which clips have an answer (M,): they could be read, and their scores are finite.
        missing: Ids of the list that the predictions lack.
        unlisted: Names of files whose clips the list lacks, such as clips without a label that people agree on.
        unknown: Names of files that do not tell a clip.
    """

    places: np.ndarray
    scores: np.ndarray
    answered: np.ndarray
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    unknown: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How many clips there are of each kind."""
        return dict(
            found=len(self.places),
            without_answer=int((~self.answered).sum()),
            missing=len(self.missing),
            unlisted=len(self.unlisted),
            unknown=len(self.unknown),
        )


def answers_of(rows: Sequence[dict], classes: Classes | None, listed: LabelList, *, name: str | Path) -> Answers:
    """Finds the clips of a list among predictions.

    Args:
        rows: See :func:`mmav.evaluation.predictions.load_predictions`; of single labels, in any order of the classes.
        classes: Their names.
        listed: The list.
        name: What to call the predictions.

    Raises:
        MmavError: The predictions are of other classes, have a clip twice, or none of the list.
    """
    if classes is None:
        raise MmavError(f"'{name}' has no class names, which are needed to match those of VGGSound: dump it again")
    if set(classes) != {'label'}:
        raise MmavError(f"'{name}' is of {' and '.join(classes)}, not of VGGSound's classes")
    names, wanted = tuple(classes['label']), listed.classes
    if len(names) != len(set(names)) or set(names) != set(wanted):
        told = tell_difference(dict(label=wanted), dict(label=names), ('VGGSounder', f"'{name}'"))
        raise MmavError(f"'{name}' is not of VGGSound's classes: {told}")
    order = [names.index(each) for each in wanted]
    place_of = {each: place for place, each in enumerate(listed.ids)}
    found: dict[int, dict] = {}
    unlisted, unknown = [], []
    for row in rows:
        clip = clip_id(str(row['path']))
        if clip is None:
            unknown.append(str(row['path']))
        elif clip in listed.left_out:
            continue
        elif clip not in place_of:
            unlisted.append(str(row['path']))
        elif place_of[clip] in found:
            raise MmavError(f"'{name}' has the clip {clip} twice: {found[place_of[clip]]['path']}, {row['path']}")
        else:
            found[place_of[clip]] = row
    if not found:
        some = shown([str(row['path']) for row in rows])
        raise MmavError(
            f"'{name}' has no clip of '{listed.path}', only {some}: test on VGGSound's test split, with files named "
            '<YouTube id>_<start>.mp4'
        )
    places = np.array(sorted(found))
    scores = np.array([found[place]['scores']['label'] for place in places], dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise MmavError(f"'{name}' has scores of {scores.shape[-1]} classes, but names of {len(names)}")
    answered = np.array([found[place]['broken'] is None for place in places]) & np.isfinite(scores).all(axis=1)
    scores = np.where(answered[:, None], scores[:, order], 0.0)
    missing = tuple(each for place, each in enumerate(listed.ids) if place not in found)
    return Answers(places, scores, answered, missing, tuple(unlisted), tuple(unknown))


def guesses(scores: np.ndarray, answered: np.ndarray, k: int) -> np.ndarray:
    """The k most probable classes of each clip, as the package chooses them; none of clips without an answer.

    Args:
        scores: (M, C).
        answered: (M,).
        k: How many.

    Returns:
        (M, C) bool.
    """
    chosen = np.zeros(scores.shape, dtype=bool)
    # the package's own call, so that of equal scores the same are chosen
    np.put_along_axis(chosen, np.argsort(scores, axis=1)[:, -k:], True, axis=1)
    return chosen & answered[:, None]


def label_figures(truth: np.ndarray, guessed: np.ndarray) -> dict[str, float]:
    """Compares sets of labels, clip by clip: ``compare_labels`` of the package.

    Args:
        truth: (M, C) bool.
        guessed: (M, C) bool.

    Returns:
        ``hit_rate``, the share of clips with a right label among the guesses; ``accuracy``, of clips whose guesses are
        exactly the labels; ``f1``, ``precision``, ``recall`` and ``jaccard`` over all pairs of clip and class together
        (micro); ``f1_macro``, the mean over all C classes, 0 for one that nobody names. 0 where there is nothing to
        divide by.
    """
    both, hits = truth & guessed, (truth & guessed).any(axis=1)
    right, named, wanted = (float(each.sum()) for each in (both, guessed, truth))
    of_class = truth.sum(axis=0) + guessed.sum(axis=0)
    return dict(
        f1=_share(2 * right, named + wanted),
        f1_macro=float(np.mean(2 * both.sum(axis=0) / np.maximum(of_class, 1))),
        accuracy=float((truth == guessed).all(axis=1).mean()),
        jaccard=_share(right, named + wanted - right),
        precision=_share(right, named),
        recall=_share(right, wanted),
        hit_rate=float(hits.mean()),
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def ranking_figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """``auc_roc`` and ``auc_pr``, the package's names of AUC and mAP: means over the classes that some clips have and
    others do not, of the area under the ROC curve and of the average precision, as scikit-learn defines them.

    Args:
        truth: (M, C) bool.
        scores: (M, C).
    """
    from sklearn.metrics import average_precision_score, roc_auc_score  # a second to import

    which = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    pairs = [(truth[:, k], scores[:, k]) for k in which]
    return dict(
        auc_roc=float(np.mean([roc_auc_score(*pair) for pair in pairs])) if pairs else 0.0,
        auc_pr=float(np.mean([average_precision_score(*pair) for pair in pairs])) if pairs else 0.0,
    )


def subset_figures(listed: LabelList, answers: Answers, subset: str, *, ranking: bool = True) -> dict[str, Any] | None:
    """All figures of a subset of the labels, on the clips that have one of it: ``compare_labels_logits``.

    Args:
        listed: The list.
        answers: Of the model.
        subset: One of :data:`mmav.evaluation.vggsounder_list.SUBSETS`.
        ranking: Whether to add :func:`ranking_figures`, which takes most of the time.

    Returns:
        ``clips``, and the figures; None if there are no such clips.
    """
    truth = listed.labels_of(subset)[answers.places]
    has = truth.any(axis=1)
    if not has.any():
        return None
    truth, scores, answered = truth[has], answers.scores[has], answers.answered[has]
    figures: dict[str, Any] = dict(clips=len(truth))
    for k in TOPK:
        compared = label_figures(truth, guesses(scores, answered, k))
        figures |= {f'{name}@{k}': value for name, value in compared.items()}
    return {**figures, **(ranking_figures(truth, scores) if ranking else {})}


def modality_confusion(listed: LabelList, answers: Mapping[str, Answers]) -> dict[str, Any] | None:
    """How often one modality alone finds a label and both together find none (mu of the paper), over all labels.

    The first guesses are compared: ``compute_modality_confusion_logits``.

    Args:
        listed: The list.
        answers: ``av``, ``a`` and ``v``.

    Returns:
        ``clips``, those of all three; ``a``, ``v`` and ``av``, shares in which audio, video, or each of them hits. None
        where one of the three is not given, or they share no clip.
    """
    if set(answers) != set(INPUTS):
        return None
    shared = answers['av'].places
    for each in answers.values():
        shared = np.intersect1d(shared, each.places)
    if not len(shared):
        return None
    truth, hits = listed.labels_of('all')[shared], {}
    for name, each in answers.items():
        own = np.searchsorted(each.places, shared)
        hits[name] = (truth & guesses(each.scores[own], each.answered[own], 1)).any(axis=1)
    lost = ~hits['av']
    return dict(
        clips=len(shared),
        a=float((hits['a'] & lost).mean()),
        v=float((hits['v'] & lost).mean()),
        av=float((hits['a'] & hits['v'] & lost).mean()),
    )


def benchmark(listed: LabelList, answers: Mapping[str, Answers]) -> dict[str, Any]:
    """The figures of a model.

    As in the package, clips that the predictions lack are left out. Clips without an answer, which the package does not
    know, count: they name no class.

    Args:
        listed: The list.
        answers: Of ``av``, ``a`` and ``v``, which stand for what the model was given, those that there are.

    Returns:
        ``subsets``, subset -> figures, see :func:`subset_figures`; ``mu``, see :func:`modality_confusion`; ``flags``,
        flag -> ``with`` and ``without`` -> subset -> ``clips``, ``hit_rate@1`` and ``f1@1``.
    """
    subsets = {name: input_ for input_ in answers for name in INPUTS[input_]}
    flags: dict[str, dict[str, Any]] = {}
    for flag in FLAGS:
        flags[flag] = {}
        for word, has in (('with', listed.flags[flag]), ('without', ~listed.flags[flag])):
            few = {name: _among(each, has) for name, each in answers.items()}
            found = {name: subset_figures(listed, few[input_], name, ranking=False) for name, input_ in subsets.items()}
            flags[flag][word] = {
                name: {key: each[key] for key in ('clips', *_OF_FLAGS)} for name, each in found.items() if each
            }
    return dict(
        subsets={name: subset_figures(listed, answers[input_], name) for name, input_ in subsets.items()},
        mu=modality_confusion(listed, answers),
        flags=flags,
    )


def _among(answers: Answers, has: np.ndarray) -> Answers:
    """The answers to the clips of a list that are chosen (N,)."""
    kept = has[answers.places]
    return Answers(answers.places[kept], answers.scores[kept], answers.answered[kept], (), (), ())
