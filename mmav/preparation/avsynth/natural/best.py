"""What can be known at best of a `natural` clip's class, by enumeration of all that its modalities can give.

The oracle sees, of each modality, exactly what the generator lets it tell: the event, or only its family, or nothing
of any class. It knows the probabilities of :class:`NaturalSpec`, and names the most probable class; of equally probable
ones it guesses. A model that sees pixels and samples can only know less.

Size and tempo tell nothing of the class that the evidence leaves open: they can tell a misaligned clip, and the most
probable class is the same then (tests/preparation/avsynth/natural/test_best.py).
"""

import numpy as np

from mmav.preparation.avsynth.natural.spec import HUES, MARKS, NUM_CLASSES, TIMBRES, NaturalSpec

_CLASSES = np.arange(NUM_CLASSES)


def best_accuracies(spec: NaturalSpec) -> dict[str, float]:
    """The best top-1 accuracy that is possible, by what is used.

    Returns:
        ``video`` and ``audio``: one modality alone. ``both``: both at once. ``average``: the arithmetic mean of what
        each alone knows (its posterior probabilities), as late fusion does; ``product``: their geometric mean.

    >>> {name: round(value, 3) for name, value in best_accuracies(NaturalSpec()).items()}
    {'video': 0.65, 'audio': 0.631, 'average': 0.915, 'product': 0.955, 'both': 0.955}
    """
    joint = joint_probabilities(spec)
    video, audio = joint.sum(axis=2), joint.sum(axis=1)
    # of each modality alone the posterior of the classes, (E, C)
    knows = [(part / np.maximum(part.sum(axis=0), 1e-300)).T for part in (video, audio)]
    # (E_v, E_a, C)
    mean = knows[0][:, None] + knows[1][None]
    product = knows[0][:, None] * knows[1][None]
    joint = np.moveaxis(joint, 0, 2)
    return {
        'video': expected_accuracy(video.T, video.T),
        'audio': expected_accuracy(audio.T, audio.T),
        'average': expected_accuracy(mean, joint),
        'product': expected_accuracy(product, joint),
        'both': expected_accuracy(joint, joint),
    }


def joint_probabilities(spec: NaturalSpec) -> np.ndarray:
    """P(class, what the video gives, what the audio gives), (C, C + 8 + 1, C + 4 + 1).

    A modality gives one of the classes' events, or one of its families, or nothing of any class.
    """
    same = np.eye(NUM_CLASSES)
    hues = np.eye(len(HUES))[_CLASSES // len(MARKS)]
    timbres = np.eye(len(TIMBRES))[_CLASSES % len(TIMBRES)]
    on_video, on_audio = (_given(same, families, spec.ambiguous, nothing=0.0) for families in (hues, timbres))
    off_video, off_audio = (
        _given(spec.other * _another(families), families, 0.0, nothing=total - spec.other)
        for families, total in ((hues, spec.video_off), (timbres, spec.audio_off))
    )
    aligned = 1 - spec.video_off - spec.audio_off
    pairs = ((aligned * on_video, on_audio), (off_video, on_audio), (on_video, off_audio))
    return np.sum([video[:, :, None] * audio[:, None, :] for video, audio in pairs], axis=0) / NUM_CLASSES


def _another(families: np.ndarray) -> np.ndarray:
    """P(event | class) where it is that of another class of the family, (C, C), from the families (C, F)."""
    others = families @ families.T - np.eye(NUM_CLASSES)
    return others / others.sum(axis=1, keepdims=True)


def _given(events: np.ndarray, families: np.ndarray, ambiguous: float, *, nothing: float) -> np.ndarray:
    """P(what a modality gives | class), (C, C + F + 1), from P(event | class), (C, C), and its family, (C, F)."""
    none = np.full((NUM_CLASSES, 1), nothing)
    return np.concatenate([(1 - ambiguous) * events, ambiguous * events @ families, none], axis=1)


def expected_accuracy(scores: np.ndarray, joint: np.ndarray) -> float:
    """How often the class of the highest score is right; where several are highest, one is guessed.

    Args:
        scores: Of each class given what is seen, (..., C).
        joint: Probability of what is seen together with each class, (..., C).
    """
    # what never occurs has scores of 0, all of them the highest
    highest = np.isclose(scores, scores.max(axis=-1, keepdims=True), rtol=1e-9, atol=0)
    return float((joint * highest / highest.sum(axis=-1, keepdims=True)).sum())
