"""Folders of features of made-up clips, for tests of what judges them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mmav.datasets.features import write_features

CLASSES = ('cut', 'wash', 'dry')


def points(number: int, seed: int, *, spread: float = 1.0, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, list]:
    """Audio and video embeddings (N, 1, 1, D) around the centres of three classes, alike in one clip; and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 3
    shared = 2 * np.eye(3, width)[labels] + spread * rng.standard_normal((number, width))
    audio, video = (shared + 0.3 * rng.standard_normal((number, width)) for _ in range(2))
    return *(torch.as_tensor(x, dtype=torch.float32)[:, None, None] for x in (audio, video)), labels.tolist()


def write_clips(folder: Path, number: int, seed: int, **options) -> Path:
    """Writes a folder of N clips; ``names`` the modalities, ``classes``, and options of ``write_features``."""
    names, classes = options.pop('names', ('audio', 'video')), options.pop('classes', CLASSES)
    audio, video, labels = points(number, seed, **options.pop('points', {}))
    options.setdefault('paths', [f'{folder.name}/{place}.mp4' for place in range(number)])
    both = dict(audio=audio, video=video)
    write_features(
        folder, {name: both[name] for name in names}, dict(label=labels), classes=dict(label=classes), **options
    )
    return folder
