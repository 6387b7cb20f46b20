import itertools

import numpy as np
import pytest

from mmav.preparation.avsynth.natural.best import best_accuracies, expected_accuracy, joint_probabilities
from mmav.preparation.avsynth.natural.spec import DISTRACTOR, NUM_CLASSES, ON, OTHER, NaturalSpec, related

PLACES = {'video': 1, 'audio': 2}


def _seen(spec: NaturalSpec, label: int, modality: int, *, on: bool) -> dict[tuple, float]:
    """What a modality can give of a class -> its probability, written out."""
    family = ('family', label // 4 if modality == 0 else label % 4)
    if on:
        return {('class', label): 1 - spec.ambiguous, family: spec.ambiguous}
    states = (spec.video_states, spec.audio_states)[modality]
    others = related(label)[modality][1:]
    found = {('class', other): states[OTHER] / len(others) for other in others}
    return found | {('nothing',): sum(p for state, p in states.items() if state not in (ON, OTHER))}


def _enumerated(spec: NaturalSpec) -> dict[tuple[int, tuple, tuple, bool], float]:
    """(class, what is seen, what is heard, whether size and tempo agree) -> probability, clip by clip of a loop."""
    found: dict[tuple[int, tuple, tuple, bool], float] = {}
    aligned = 1 - spec.video_off - spec.audio_off
    for label, (video_on, audio_on) in itertools.product(
        range(NUM_CLASSES), [(True, True), (False, True), (True, False)]
    ):
        share = (aligned if video_on and audio_on else 1.0) / NUM_CLASSES
        for v, p in _seen(spec, label, 0, on=video_on).items():
            for a, q in _seen(spec, label, 1, on=audio_on).items():
                key = (label, v, a, video_on and audio_on)
                found[key] = found.get(key, 0) + share * p * q
    return found


def _best(table: dict[tuple, float], view) -> float:
    """Of each thing that is viewed the most probable class."""
    of_view: dict[object, dict[int, float]] = {}
    for key, probability in table.items():
        classes = of_view.setdefault(view(*key[1:]), {})
        classes[key[0]] = classes.get(key[0], 0) + probability
    return sum(max(classes.values()) for classes in of_view.values())


@pytest.mark.parametrize(
    'changes', [{}, dict(ambiguous=0.5, video_off=0.3), dict(other=0.0, silent=0.1, absent=0.0), dict(other=0.24)]
)
def test_equals_a_loop_over_all_that_can_happen(changes: dict[str, float]) -> None:
    spec = NaturalSpec(**(changes | (dict(silent=0.0, absent=0.0) if changes.get('other') == 0.24 else {})))
    table, best = _enumerated(spec), best_accuracies(spec)
    assert sum(table.values()) == pytest.approx(1) and joint_probabilities(spec).sum() == pytest.approx(1)
    assert best['video'] == pytest.approx(_best(table, lambda v, a, same: v))
    assert best['audio'] == pytest.approx(_best(table, lambda v, a, same: a))
    assert best['both'] == pytest.approx(_best(table, lambda v, a, same: (v, a)))
    # who also compares size and tempo knows whether the clip is aligned, and no more of its class
    assert best['both'] == pytest.approx(_best(table, lambda v, a, same: (v, a, same)))


def test_is_what_the_generator_draws() -> None:
    """The oracle's rules on drawn clips, with the posterior probabilities of the definition."""
    spec, number = NaturalSpec(), 3000
    joint = joint_probabilities(spec)
    video, audio = joint.sum(axis=2), joint.sum(axis=1)
    right = dict.fromkeys(('video', 'audio', 'average', 'both'), 0.0)
    for index in range(number):
        label, (seen, heard) = spec.label('train', index), spec.evidence('train', index)
        v = 40 if seen.event is None else 32 + seen.hue if seen.ambiguous else seen.event
        a = 36 if heard.event is None else 32 + heard.timbre if heard.ambiguous else heard.event
        know = video[:, v] / video[:, v].sum(), audio[:, a] / audio[:, a].sum()
        for name, score in dict(video=know[0], audio=know[1], average=know[0] + know[1], both=joint[:, v, a]).items():
            top = np.flatnonzero(score > score.max() * (1 - 1e-9))
            right[name] += (label in top) / len(top) / number
    for name, value in right.items():
        assert value == pytest.approx(best_accuracies(spec)[name], abs=0.025), name


def test_defaults() -> None:
    best = dict(video=0.650375, audio=0.631375, average=0.9145, product=0.9545, both=0.9545)
    assert best_accuracies(NaturalSpec()) == pytest.approx(best)
    certain = NaturalSpec(video_off=0, audio_off=0, other=0, silent=0, absent=0, ambiguous=0)
    assert set(best_accuracies(certain).values()) == {1.0}


def test_of_equal_scores_one_is_guessed() -> None:
    joint = np.array([[0.1, 0.2, 0.3], [0.4, 0.0, 0.0]])
    assert expected_accuracy(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), joint) == pytest.approx(0.15 + 0.4 / 3)


def test_distractors_are_the_rest() -> None:
    spec = NaturalSpec(audio_off=0.5, other=0.1, silent=0.2, absent=0.05)
    assert spec.audio_states[DISTRACTOR] == pytest.approx(0.15) and sum(spec.audio_states.values()) == pytest.approx(1)
