"""Views may share their frames, and frames may be read-only: no step writes into what it was given."""

from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets import transforms
from mmav.datasets.transforms.rand_augment import OPERATIONS

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)
SOUND = np.random.default_rng(1).standard_normal((32, 60)).astype(np.float32)
STEPS = [
    transforms.Resize(30),
    transforms.CenterCrop(36),
    transforms.CenterCrop(60),
    transforms.RandomResizedCrop(32),
    transforms.RandomResizedCrop((40, 52), scale=(1.0, 1.0), ratio=(1.3, 1.3)),
    transforms.RandomFlip(1.0),
    transforms.ColorJitter(0.5, 0.5, 0.5, hue=0.2),
    transforms.RandomErasing(p=1.0),
    transforms.AudioViews(3),
    transforms.SpecAugment(16, 16),
    transforms.PackAVInputs(),
]


def clip(seed=0):
    frames, sound = FRAMES.copy(), SOUND.copy()
    frames.flags.writeable = sound.flags.writeable = False
    return dict(
        video=[frames, frames],
        audio=[sound, sound],
        masks=dict(video=True, audio=True),
        modalities=('video', 'audio'),
        rng=np.random.default_rng(seed),
        label=0,
        **dict.fromkeys(('path', 'start', 'end', 'sample_idx', 'broken')),
    )


@pytest.mark.parametrize('step', STEPS, ids=lambda step: type(step).__name__)
def test_steps_leave_their_input_alone(step):
    for seed in range(3):
        given = clip(seed)
        frames, sound = given['video'][0], given['audio'][0]
        step(given)
        np.testing.assert_array_equal(frames, FRAMES)
        np.testing.assert_array_equal(sound, SOUND)


@pytest.mark.parametrize('name', OPERATIONS)
def test_so_do_the_operations_of_rand_augment(name):
    (frames, _), rng = clip()['video'], np.random.default_rng(0)
    transforms.RandAugment()._apply(name, frames, 7.0, rng)
    np.testing.assert_array_equal(frames, FRAMES)


def test_a_view_does_not_depend_on_the_other_views():
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomFlip(),
        transforms.RandAugment(),
        transforms.RandomErasing(p=1.0),
    ]
    for seed in range(10):
        shared, apart = clip(seed), clip(seed)
        apart['video'] = [FRAMES.copy(), FRAMES.copy()]
        for step in steps:
            shared, apart = step(shared), step(apart)
        np.testing.assert_array_equal(shared['video'], apart['video'])
