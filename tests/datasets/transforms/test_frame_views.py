import numpy as np
import pytest
import torch

from mmav.datasets.transforms import CenterCrop, FlipViews, LogMel, PackAVInputs, SpatialCrops
from mmav.datasets.transforms.flip import mirror

SHAPES = [(40, 64), (64, 40), (48, 48), (40, 41), (33, 90), (90, 33)]


def frames(height, width, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def as_tensor(view):
    return torch.from_numpy(np.ascontiguousarray(view)).permute(0, 3, 1, 2)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_three_crops_are_torchvisions(shape):
    functional = pytest.importorskip('torchvision.transforms.functional')
    size, view = min(shape), frames(*shape)  # no scaling, which differs between libraries
    top, left = shape[0] - size, shape[1] - size
    whole = as_tensor(view)
    expected = [
        functional.crop(whole, 0, 0, size, size),
        functional.center_crop(whole, [size, size]),
        functional.crop(whole, top, left, size, size),
    ]
    found = SpatialCrops(size)(dict(video=[view]))['video']
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(as_tensor(one), other)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('size', [16, 60])
def test_the_short_side_is_scaled_as_torchvision_does(shape, size):
    """A smooth picture, on which the ways to interpolate agree but for rounding."""
    functional = pytest.importorskip('torchvision.transforms.functional')
    grey = np.add.outer(np.linspace(0, 120, shape[0]), np.linspace(0, 120, shape[1]))
    view = np.repeat(grey[None, ..., None], 3, axis=-1).astype(np.uint8)
    small = functional.resize(as_tensor(view), size, antialias=False)
    found = SpatialCrops(size)(dict(video=[view]))['video']
    for one, offset in zip(found, (0, 0.5, 1), strict=True):
        top, left = (round((side - size) * offset) for side in small.shape[-2:])
        other = functional.crop(small, top, left, size, size)
        assert one.shape == (1, size, size, 3)
        assert (as_tensor(one).int() - other.int()).abs().max() <= 4  # a pixel of the longer side


def test_crops_are_those_of_uniform_crop():
    """SlowFast's rule as a loop: first, centre and last place of the longer side; its centre rounds up."""
    for height, width in SHAPES:
        size, view = min(height, width), frames(height, width)
        for index, found in enumerate(SpatialCrops(size)(dict(video=[view]))['video']):
            y, x = -(-(height - size) // 2), -(-(width - size) // 2)
            if height > width:
                y = {0: 0, 1: y, 2: height - size}[index]
            else:
                x = {0: 0, 1: x, 2: width - size}[index]
            near = [view[:, y - dy : y - dy + size, x - dx : x - dx + size] for dy, dx in ((0, 0), (1, 0), (0, 1))
                    if y >= dy and x >= dx]  # fmt: skip
            assert any(np.array_equal(found, other) for other in (near if index == 1 else near[:1]))


def test_one_crop_is_the_centre_and_many_lie_evenly():
    view = frames(40, 64)
    np.testing.assert_array_equal(SpatialCrops(40, num=1)(dict(video=[view]))['video'][0],
                                  CenterCrop(40)(dict(video=[view]))['video'][0])  # fmt: skip
    found = SpatialCrops(40, num=5)(dict(video=[view]))['video']
    for crop, left in zip(found, (0, 6, 12, 18, 24), strict=True):
        np.testing.assert_array_equal(crop, view[:, :, left : left + 40])


def test_a_rectangle_touches_both_of_its_sides():
    found = SpatialCrops((20, 40))(dict(video=[frames(60, 60)]))['video']
    assert [crop.shape for crop in found] == 3 * [(2, 20, 40, 3)]
    assert not np.array_equal(found[0], found[2])


def test_views_are_side_by_side_and_times_go_with_them():
    """Order: time, crop, mirrored or not, the last fastest."""
    views, times = [frames(8, 12, seed=k) for k in range(2)], np.arange(4.0).reshape(2, 2)
    out = FlipViews()(SpatialCrops(8)(dict(video=views, frame_times=times, audio=['untouched'])))
    assert len(out['video']) == 12 and out['audio'] == ['untouched']
    np.testing.assert_array_equal(out['frame_times'], np.repeat(times, 6, axis=0))
    for k, view in enumerate(out['video']):
        crop = views[k // 6][:, :, [0, 2, 4][k // 2 % 3] :][:, :, :8]
        np.testing.assert_array_equal(view, mirror(crop) if k % 2 else crop)


def test_mirror_images_of_a_symmetric_clip_are_the_clip():
    half = frames(8, 6)
    view = np.concatenate([half, half[:, :, ::-1]], axis=2)
    one, other = FlipViews()(dict(video=[view]))['video']
    np.testing.assert_array_equal(one, other)
    left, centre, right = SpatialCrops(8)(dict(video=[view]))['video']
    np.testing.assert_array_equal(mirror(left), right)
    np.testing.assert_array_equal(mirror(centre), centre)


def test_sound_alone_passes():
    assert FlipViews()(SpatialCrops(8)(dict(audio=[1]))) == dict(audio=[1])


def test_packed_views_of_sound_divide_those_of_frames():
    windows = dict(video=[frames(8, 12, seed=k) for k in range(2)], audio=[np.zeros(16000, np.float32)] * 2)
    meta = dict(path='', start=None, end=None, sample_idx=0, broken=None, label={}, modalities=('video', 'audio'))
    out = dict(**windows, **meta, masks=dict(video=True, audio=True), sample_rate=16000)
    for step in (SpatialCrops(8), FlipViews(), LogMel(num_mel_bins=8, target_frames=20), PackAVInputs()):
        out = step(out)
    assert out['inputs']['video'].shape == (12, 3, 2, 8, 8) and out['inputs']['audio'].shape == (2, 1, 8, 20)


@pytest.mark.parametrize(('size', 'num'), [(0, 3), ((4, 0), 3), (8, 0)])
def test_wrong_settings_are_refused(size, num):
    with pytest.raises(ValueError, match='size|num'):
        SpatialCrops(size, num)
