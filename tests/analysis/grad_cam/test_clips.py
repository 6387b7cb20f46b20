import numpy as np
import pytest

from mmav.analysis.grad_cam.clips import crop_region, look
from mmav.apis import AVInferencer
from mmav.datasets.transforms import CenterCrop, LoadClip, RandomFlip, Resize, SpatialCrops
from mmav.evaluation.localization import Event
from tests.inference.models import config, write_model


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    return AVInferencer(*write_model(tmp_path_factory.mktemp('model'), config()), device='cpu', show_progress=False)


@pytest.mark.parametrize('size', [(240, 320), (300, 200), (36, 64), (40, 50)])
@pytest.mark.parametrize(
    'steps', [[CenterCrop(64)], [Resize(48), CenterCrop((40, 32))], [Resize((30, 50))], [SpatialCrops(32)], []]
)
def test_the_region_is_where_the_crop_came_from(steps, size):
    """A picture whose red and green say where a pixel is: what the steps leave of it tells the region."""
    height, width = size
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    picture = np.stack(np.broadcast_arrays(x[None] * 255, y[:, None] * 255, 0.0), axis=-1).round().astype(np.uint8)
    results = dict(video=[picture[None]])
    for step in steps:
        results = step.transform(results)
    left, top, right, bottom = crop_region([LoadClip(), *steps], size)
    frame = results['video'][0][0] / 255
    high, wide = frame.shape[:2]
    across = left + (right - left) * (np.arange(wide) + 0.5) / wide
    down = top + (bottom - top) * (np.arange(high) + 0.5) / high
    tolerance = dict(atol=1.5 / 255 + 0.6 / min(size))
    np.testing.assert_allclose(np.broadcast_to(across, (high, wide)), frame[..., 0], **tolerance)
    np.testing.assert_allclose(np.broadcast_to(down[:, None], (high, wide)), frame[..., 1], **tolerance)


def test_a_random_step_leaves_no_known_region():
    assert crop_region([CenterCrop(64), RandomFlip()], (72, 72)) is None


def test_what_was_seen_is_what_goes_in(inferencer, clip):
    seen = look(inferencer, clip)  # 48x64, 2 s
    packed = seen.item['inputs']['video'].permute(0, 2, 3, 4, 1).numpy()
    np.testing.assert_array_equal(seen.frames, packed)
    assert (seen.start, seen.end) == (0.0, 2.0) and seen.frame_times.shape == (1, 4)
    np.testing.assert_allclose(seen.frame_times[0], [0.25, 0.75, 1.25, 1.75], atol=0.05)
    # 36x48 of which 32x32
    assert seen.region == pytest.approx((8 / 48, 2 / 36, 40 / 48, 34 / 36))
    assert type(inferencer.pipeline).__name__ == 'Compose'


def test_the_event_in_what_was_seen(inferencer, clip):
    event = Event(np.array([0.0]), np.array([[0.5, 0.0, 1.0, 1.0]]), 0.5, 1.0)
    covers = look(inferencer, clip).covers(event)
    assert covers['video'].shape == (4, 32, 32) and covers['audio'].shape == (1, 200)
    np.testing.assert_allclose(covers['video'][:, :, :16], 0, atol=1e-6)
    np.testing.assert_allclose(covers['video'][:, :, 16:], 1, atol=1e-6)
    # frames of 25 ms that begin every 10 ms: column 49 is centred at 0.5025 s
    np.testing.assert_allclose(covers['audio'][0, [48, 49, 60, 98, 99]], [0, 0.75, 1, 1, 0.25], atol=1e-6)
    later = look(inferencer, clip, start=0.5, end=1.5).covers(event)
    np.testing.assert_allclose(later['audio'][0, [0, 30, 48, 60]], [1, 1, 1, 0], atol=1e-6)


def test_a_click_is_heard_where_the_columns_say(inferencer, clip):
    """The clip clicks at 0.5 s."""
    seen = look(inferencer, clip)
    loudest = int(seen.item['inputs']['audio'][0, 0].mean(dim=0).argmax())
    heard = seen.sound.first + (loudest + 0.5) * seen.sound.step
    assert heard == pytest.approx(0.5, abs=0.03)


def test_clips_without_picture_or_sound(inferencer, silent, blind):
    event = Event(np.array([0.0]), np.array([[0.5, 0.0, 1.0, 1.0]]), 0.5, 1.0)
    mute, unseen = look(inferencer, silent), look(inferencer, blind)
    assert mute.sound is None and set(mute.covers(event)) == {'video'}
    assert unseen.frames is None and unseen.region is None and set(unseen.covers(event)) == {'audio'}
