"""Lists in the form of VGGSounder's, and predictions of their clips, drawn at random."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mmav.evaluation.predictions import save_predictions

CLASSES = ['dog barking', 'playing bass guitar', 'bird chirping, tweeting', 'sea waves', 'toilet flushing', 'zebra',
           'airplane', 'cat purring', 'cap gun shooting', 'chopping wood', 'yodelling', 'wind noise']  # fmt: skip
FLAGS = ('background_music', 'static_image', 'voice_over')


def names(number: int) -> list[str]:
    """Ids of clips."""
    return [f'-_{k:09}_{7 * k % 300:06}' for k in range(number)]


def write_list(folder: Path, number: int = 60, seed: int = 0, *, classes_file: bool = True) -> Path:
    """Writes a list of clips with one to four labels, and the classes beside it; returns the csv."""
    rng = np.random.default_rng(seed)
    path = folder / 'vggsounder+background-music.csv'
    with open(path, 'w', newline='') as file:
        table = csv.writer(file)
        table.writerow(['video_id', 'label', 'modality', *FLAGS])
        for name in names(number):
            flags = [str(bool(flag)) for flag in rng.random(3) < 0.3]
            for label in rng.choice(CLASSES, rng.integers(1, 5), replace=False):
                table.writerow([name, label, rng.choice(['A', 'V', 'AV'], p=[0.35, 0.15, 0.5]), *flags])
    if classes_file:
        with open(folder / 'classes.csv', 'w', newline='') as file:
            table = csv.writer(file)
            table.writerow(['index', 'mid', 'display_name'])
            table.writerows([k, f'vgg_{k}', name] for k, name in enumerate(CLASSES))
    return path


def rows_of(clips: list[str], scores: np.ndarray, *, broken: tuple[int, ...] = ()) -> list[dict]:
    """Predictions of clips, scores (clips, C)."""
    return [
        dict(path=f'clips/{name}.mp4', start=0.0, end=10.0, label=0, scores=score, sample_idx=k,
             broken='torn' if k in broken else None)
        for k, (name, score) in enumerate(zip(clips, scores, strict=True))
    ]  # fmt: skip


def draw_scores(number: int, seed: int) -> np.ndarray:
    """Probabilities (clips, C), float32."""
    logits = 2 * np.random.default_rng(seed).standard_normal((number, len(CLASSES)))
    return (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)


def write_dump(path: Path, clips: list[str], scores: np.ndarray, *, order: list[int] | None = None, **options) -> Path:
    """Writes a dump whose classes are in some order, by default the alphabet's."""
    order = sorted(range(len(CLASSES)), key=CLASSES.__getitem__) if order is None else order
    save_predictions(path, rows_of(clips, scores[:, order], **options), [CLASSES[k] for k in order])
    return path
