"""Clips whose video and audio each tell one thing, as features, and models whose use of them is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmav.datasets.features import write_features
from mmav.models import AVClassifier
from tests.toys import RUNTIME

WIDTH, TOKENS, VIEWS = 4, 3, 2
BOTTLENECK = dict(type='AVBottleneck', embed_dims=8, num_blocks=1, num_heads=2, num_tokens=2)


def codes(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What video and audio of each clip tell, 0 or 1 (N,)."""
    return tuple(np.random.default_rng(seed).integers(2, size=(2, number)))  # type: ignore[return-value]


def write_world(
    folder: Path, labels: dict[str, Any], classes: dict[str, list[str]], number: int, **options: Any
) -> Path:
    """Writes features of clips: one-hot codes as the class embedding, and noise as patches."""
    rng = torch.Generator().manual_seed(0)
    features = {}
    for name, code in zip(('video', 'audio'), codes(number), strict=True):
        tokens = torch.randn(number, VIEWS, TOKENS, WIDTH, generator=rng)
        tokens[:, :, 0] = torch.nn.functional.one_hot(torch.from_numpy(code), WIDTH).float()[:, None]
        features[name] = tokens
    paths = [f'clips/{k}.mp4' for k in range(number)]
    write_features(folder, features, labels, classes=classes, paths=paths, **options)
    return folder


def pair_world(folder: Path, number: int = 40, **options: Any) -> Path:
    """Clips whose class is the pair of what both tell."""
    video, audio = codes(number)
    names = [f'v{v}a{a}' for v in (0, 1) for a in (0, 1)]
    return write_world(folder, dict(label=(2 * video + audio).tolist()), dict(label=names), number, **options)


def config_of(world: Path, model: dict[str, Any], extra: str = '') -> str:
    """The text of a config that tests a model on these clips."""
    return f'''"""A model on made-up clips."""
_base_ = [{str(RUNTIME)!r}]
model = {model!r}
test_dataloader = dict(
    batch_size=7,
    num_workers=0,
    collate_fn=dict(type='av_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='FeatureDataset', features={str(world)!r}, test_mode=True),
)
test_evaluator = dict(type='Accuracy', topk=(1,))
test_cfg = dict()
{extra}'''


def write_model(
    folder: Path, world: Path, neck: dict[str, Any], head: dict[str, Any], weights: dict[str, Any], extra: str = ''
) -> tuple[Path, Path]:
    """Writes a config, and a checkpoint whose head has these weights, else drawn ones; returns both."""
    one = dict(type='CachedBackbone', out_dims=WIDTH, grid=(TOKENS - 1,))
    parts: dict[str, Any] = dict(backbones=dict(video=one, audio=one), neck=neck, head=head)
    torch.manual_seed(0)
    model = AVClassifier(**parts)
    model.init_weights()
    state = model.state_dict()
    for name, value in weights.items():
        state[name] = torch.as_tensor(value, dtype=torch.float32)
    folder.mkdir(exist_ok=True)
    config, checkpoint = folder / 'model.py', folder / 'model.pth'
    config.write_text(config_of(world, dict(type='AVClassifier', **parts), extra))
    torch.save(dict(meta={}, state_dict=state), checkpoint)
    return config, checkpoint


def pair_weights() -> dict[str, Any]:
    """Weights of a linear head on Concat that reads both codes; of two equal classes it takes the first."""
    weight = np.zeros((4, 2 * WIDTH))
    for v in (0, 1):
        for a in (0, 1):
            weight[2 * v + a, v] = weight[2 * v + a, WIDTH + a] = 10.0
    return {'head.fcs.fused.weight': weight, 'head.fcs.fused.bias': [0.3, 0.2, 0.1, 0.0]}


def audio_weights() -> dict[str, Any]:
    """Weights of a linear head on Concat that reads the code of the audio alone, and takes video to be 0."""
    weight = np.zeros((4, 2 * WIDTH))
    weight[0, WIDTH] = weight[1, WIDTH + 1] = 10.0
    return {'head.fcs.fused.weight': weight, 'head.fcs.fused.bias': [5.0, 4.0, 0.0, 0.0]}


def answer(label: Any, guess: Any, number: int, place: int = 0, **more: Any) -> dict[str, Any]:
    """A prediction of one clip with C classes whose most probable one is ``guess``; None: it could not be read."""
    scores = np.full(number, 0.1, dtype=np.float32)
    scores[0 if guess is None else guess] = 0.9
    row = dict(path=f'{place}.mp4', start=0.0, end=1.0, label=dict(label=label), scores=dict(label=scores),
               broken='torn' if guess is None else None, sample_idx=place)  # fmt: skip
    return row | more


def answers(labels: Any, guesses: Any, number: int = 4) -> list[dict[str, Any]]:
    """Predictions of clips."""
    return [answer(*pair, number, place) for place, pair in enumerate(zip(labels, guesses, strict=True))]


def pair_rows(number: int = 40, seed: int = 0) -> dict[str, list]:
    """What a model says of the clips of :func:`pair_world` that reads both codes: of a missing one, that it is 0."""
    video, audio = codes(number)
    labels = (2 * video + audio).tolist()
    other = np.roll(np.arange(number), 1)
    rows: dict[str, list] = dict(
        both=answers(labels, labels), video=answers(labels, 2 * video), audio=answers(labels, audio)
    )
    shuffled = answers(labels, 2 * video + audio[other])
    rows['shuffled'] = [
        row | dict(partner=f'{k}.mp4', partner_label=dict(label=labels[k]))
        for row, k in zip(shuffled, other, strict=True)
    ]
    return rows
