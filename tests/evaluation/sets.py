"""Dumps of made-up clips with any number of labels, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmav.evaluation.predictions import save_predictions

NAMES = ('dog', 'cat', 'rain', 'car', 'bell')


def set_rows(scores, truth, broken=(), first=0):
    """Rows of a dump, of scores and labels (N, C)."""
    return [
        dict(
            path=f'clips/{i}.mp4',
            start=0.0,
            end=1.0,
            label=tuple(np.flatnonzero(true).tolist()),
            scores=np.float32(score),
            broken='torn' if i in broken else None,
            sample_idx=i,
        )
        for i, (score, true) in enumerate(zip(scores, truth, strict=True), first)
    ]


def random_sets(clips=80, seed=0, noise=1.0, truth_seed=0):
    """Scores and labels (N, 5) of a model that is the better the less noise there is."""
    truth = np.random.default_rng(truth_seed).random((clips, len(NAMES))) < 0.3
    logits = 3 * truth - 2 + noise * np.random.default_rng(seed).normal(size=truth.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), truth


def write_sets(path: Path, broken=(), classes=NAMES, **options) -> Path:
    """Writes a dump, see :func:`random_sets`."""
    save_predictions(path, set_rows(*random_sets(**options), broken), classes)
    return path
