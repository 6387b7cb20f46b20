"""Against timm's ``rand-m7-n4-mstd0.5-inc1``: what a magnitude means, and what the whole does to pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from mmav.datasets.transforms import RandAugment
from mmav.datasets.transforms.rand_augment import LEVEL_TO_ARG, OPERATIONS, WITHOUT_ARG

TIMM_NAME = {'TranslateX': 'TranslateXRel', 'TranslateY': 'TranslateYRel'}
INCREASING = {'Posterize', 'Solarize', 'Color', 'Contrast', 'Brightness', 'Sharpness'}
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)


def timm_name(name, increasing):
    return TIMM_NAME.get(name, name + ('Increasing' if increasing and name in INCREASING else ''))


class Signs:
    """A generator whose every coin shows the same side."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@pytest.mark.parametrize('increasing', [False, True])
@pytest.mark.parametrize('name', LEVEL_TO_ARG)
def test_arguments_of_magnitudes(name, increasing, monkeypatch):
    timm = pytest.importorskip('timm.data.auto_augment')
    for coin in (0.2, 0.8):
        monkeypatch.setattr(random, 'random', lambda coin=coin: coin)
        for level in (0.0, 2.5, 6.7, 7.0, 9.99, 10.0):
            expected = timm.LEVEL_TO_ARG[timm_name(name, increasing)](level, {})[0]
            assert LEVEL_TO_ARG[name][increasing](level, Signs(coin)) == pytest.approx(expected)


def test_the_same_operations():
    timm = pytest.importorskip('timm.data.auto_augment')
    assert {timm_name(name, True) for name in OPERATIONS} == set(timm._RAND_INCREASING_TRANSFORMS)
    assert len(OPERATIONS) == len(timm._RAND_INCREASING_TRANSFORMS) == 15


@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_do_what_timms_do(name, monkeypatch):
    timm = pytest.importorskip('timm.data.auto_augment')
    y, x = np.mgrid[:32, :48]
    image = np.stack([4 * x, 30 + 3 * y, 200 - x - y], axis=-1).astype(np.uint8)
    monkeypatch.setattr(random, 'random', lambda: 0.2)
    operation = timm.AugmentOp(timm_name(name, True), prob=1.0, magnitude=7, hparams=dict(img_mean=(128, 128, 128)))
    theirs = np.asarray(operation(Image.fromarray(image))).astype(int)
    ours = RandAugment()._apply(name, image[None], 7.0, Signs(0.2))[0].astype(int)
    # Geometry differs along the edges of the picture, and by timm's random choice of bilinear or bicubic.
    assert np.percentile(np.abs(ours - theirs), 80 if name not in WITHOUT_ARG else 100) <= 2


def test_all_frames_of_a_view_are_treated_alike_and_views_are_not():
    same = np.repeat(FRAMES[:1], 5, axis=0)
    changed = 0
    for seed in range(30):
        first, second = RandAugment()(dict(video=[same, same], rng=np.random.default_rng(seed)))['video']
        assert (first == first[:1]).all() and first.dtype == np.uint8 and first.shape == same.shape
        changed += (first != second).any()
    assert changed > 20


def test_number_and_probability_of_operations(monkeypatch):
    calls = []
    monkeypatch.setattr(RandAugment, '_apply', lambda self, name, frames, level, rng: calls.append(level) or frames)
    rng = np.random.default_rng(0)
    for _ in range(500):
        RandAugment(7, 4, mstd=0.5, p=0.5)(dict(video=[FRAMES], rng=rng))
    assert len(calls) / 500 == pytest.approx(2.0, abs=0.15)
    assert np.mean(calls) == pytest.approx(7, abs=0.1) and np.std(calls) == pytest.approx(0.5, abs=0.05)


def test_the_same_draw_gives_the_same_clip():
    one, other = (RandAugment()(dict(video=[FRAMES], rng=np.random.default_rng(3)))['video'][0] for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r'magnitude must lie in \[0, 10\], got 11'):
        RandAugment(11)
    with pytest.raises(ValueError, match='p a probability'):
        RandAugment(p=2)
