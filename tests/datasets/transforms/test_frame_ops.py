"""Against Pillow, which timm's augmentations call."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mmav.datasets.transforms import frame_ops as ops


def frames():
    """One smooth and dark, one of noise, one of a single colour."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:37, :53]
    smooth = np.stack([2 * x, 30 + 3 * y, 200 - x - y], axis=-1)
    noise = rng.integers(10, 240, (37, 53, 3))
    flat = np.full((37, 53, 3), (5, 99, 201))
    return np.stack([smooth, noise, flat]).astype(np.uint8)


def pillow(operation):
    return np.stack([np.asarray(operation(Image.fromarray(frame))) for frame in frames()])


EXACT = {
    'auto_contrast': (ops.auto_contrast, ImageOps.autocontrast),
    'equalize': (ops.equalize, ImageOps.equalize),
    'invert': (ops.invert, ImageOps.invert),
    'solarize': (lambda x: ops.solarize(x, 90), lambda x: ImageOps.solarize(x, 90)),
    'solarize_all': (lambda x: ops.solarize(x, 0), lambda x: ImageOps.solarize(x, 0)),
    'posterize': (lambda x: ops.posterize(x, 2), lambda x: ImageOps.posterize(x, 2)),
    'posterize_none': (lambda x: ops.posterize(x, 8), lambda x: x),
    'solarize_add': (
        lambda x: ops.solarize_add(x, 77),
        lambda x: x.point([min(255, i + 77) if i < 128 else i for i in range(256)] * 3),
    ),
    'darker': (lambda x: ops.brightness(x, 0.37), lambda x: ImageEnhance.Brightness(x).enhance(0.37)),
    'brighter': (lambda x: ops.brightness(x, 1.63), lambda x: ImageEnhance.Brightness(x).enhance(1.63)),
}
# Grey differs by at most one, as OpenCV rounds its weights to 14 bits and Pillow to 16.
CLOSE = {
    'contrast': (ops.contrast, ImageEnhance.Contrast),
    'color': (ops.color, ImageEnhance.Color),
    'sharpness': (ops.sharpness, ImageEnhance.Sharpness),
}


@pytest.mark.parametrize('name', EXACT)
def test_equal_to_pillow(name):
    ours, theirs = EXACT[name]
    given = frames()
    np.testing.assert_array_equal(ours(given), pillow(theirs))
    np.testing.assert_array_equal(given, frames())


@pytest.mark.parametrize('factor', [0.1, 0.63, 1.0, 1.9])
@pytest.mark.parametrize('name', CLOSE)
def test_close_to_pillow(name, factor):
    ours, theirs = CLOSE[name]
    difference = ours(frames(), factor).astype(int) - pillow(lambda x: theirs(x).enhance(factor))
    assert np.abs(difference).max() <= 2
    assert (difference != 0).mean() < 0.1


@pytest.mark.parametrize(
    'matrix', [[[1, 0.2, 0], [0, 1, 0]], [[1, 0, 0], [-0.3, 1, 0]], [[1, 0, 7.3], [0, 1, 0]], [[1, 0, 0], [0, 1, -4]]]
)
def test_affine_as_pillow(matrix):
    ours = ops.affine(frames(), np.array(matrix), fill=(9, 8, 7), interpolation=cv2.INTER_LINEAR)
    coefficients = [*matrix[0], *matrix[1]]
    theirs = pillow(
        lambda x: x.transform(x.size, Image.AFFINE, coefficients, resample=Image.BILINEAR, fillcolor=(9, 8, 7))
    )
    # OpenCV blends the outermost pixel with the fill and takes 1/32 of a pixel as the finest step.
    inside = (theirs[2] != (9, 8, 7)).any(axis=-1)
    inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3))).astype(bool)
    inside[:2] = inside[-2:] = inside[:, :2] = inside[:, -2:] = False
    assert inside.mean() > 0.4
    assert np.abs(ours[0].astype(int) - theirs[0])[inside].max() <= 2
    assert np.abs(ours[1].astype(int) - theirs[1])[inside].mean() < 3
    outside = cv2.erode((theirs[2] == (9, 8, 7)).all(axis=-1).astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert (ours[:, outside] == (9, 8, 7)).all()


@pytest.mark.parametrize('interpolation', [cv2.INTER_LINEAR, cv2.INTER_CUBIC])
@pytest.mark.parametrize(
    'matrix',
    [
        [[1, 0.21, 0], [0, 1, 0]],
        [[1, -0.3, 5.25], [0, 1, 0]],
        [[1, 0, 0], [0.17, 1, 0]],
        [[1, 0, -16.7], [0, 1, 0]],
        [[1, 0, 0], [0, 1, 11.66]],
        [[1, 0, 80], [0, 1, 0]],
        [[1, 0, 0], [0, 1, 0]],
    ],
)
def test_shears_and_shifts_as_opencv(matrix, interpolation):
    fill = (9, 128, 250)
    ours = ops.affine(frames(), np.array(matrix), fill=fill, interpolation=interpolation)
    centred = np.array(matrix, np.float64)
    centred[:, 2] += centred[:, :2] @ (0.5, 0.5) - 0.5
    flags = dict(flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    theirs = np.stack([cv2.warpAffine(frame, centred, (53, 37), **flags) for frame in frames()])
    # OpenCV's older ways take 1/32 of a pixel as the finest step: up to 1/64 of the greatest slope, here that of noise.
    difference = np.abs(ours.astype(int) - theirs)
    assert difference[[0, 2]].max() <= 4 and difference[1].max() <= 8
    assert difference.mean() < 1


@pytest.mark.parametrize('degrees', [20, -13.5])
def test_rotation_as_pillow(degrees):
    matrix = ops.rotation_matrix(degrees, 37, 53)
    ours = ops.affine(frames(), matrix, fill=(0, 0, 0), interpolation=cv2.INTER_LINEAR)
    theirs = pillow(lambda x: x.rotate(degrees, resample=Image.BILINEAR))
    middle = np.s_[10:27, 15:38]
    assert np.abs(ours[0][middle].astype(int) - theirs[0][middle]).max() <= 2


@pytest.mark.parametrize('place', [np.s_[:, :, ::-1], np.s_[:, 3:-4, 5:-6], np.s_[:, ::-1, 1::2]])
@pytest.mark.parametrize('name', [*EXACT, *CLOSE, 'affine'])
def test_any_layout_in_memory(name, place):
    operation = EXACT[name][0] if name in EXACT else lambda x: CLOSE[name][0](x, 1.7)
    if name == 'affine':
        matrix = ops.rotation_matrix(9, 37, 53)
        operation = lambda x: ops.affine(x, matrix, fill=(1, 2, 3), interpolation=cv2.INTER_CUBIC)  # noqa: E731
    view = frames()[place]
    view.flags.writeable = False
    np.testing.assert_array_equal(operation(view), operation(view.copy()))


def test_blends_are_cut_off_as_pillow_does():
    # All pairs of two values.
    value, grey = np.meshgrid(np.arange(256), np.arange(256))
    pair = [np.repeat(x.astype(np.uint8)[..., None], 3, axis=-1) for x in (value, grey)]
    for factor in (0.1, 0.37, 0.5, 0.64, 1.0, 1.63, 1.9):
        ours = ops._blend(pair[1], pair[0][None], factor)[0].astype(int)
        theirs = np.asarray(Image.blend(*(Image.fromarray(x) for x in reversed(pair)), factor))
        assert np.abs(ours - theirs).max() <= 1 and (ours != theirs).mean() < 1e-3
