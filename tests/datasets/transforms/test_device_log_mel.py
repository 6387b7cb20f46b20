"""What a worker packs for a spectrogram that is computed elsewhere; tests/models/test_device_steps.py computes it."""

import numpy as np
import pytest
import torch

from mmav.datasets import av_collate
from mmav.datasets.transforms import AudioViews, DeviceLogMel, LogMel, PackAVInputs
from mmav.datasets.transforms.determinism import is_deterministic, touched
from mmav.errors import ConfigError


def results(*waves, present=True, **more):
    return dict(
        audio=list(waves), masks=dict(audio=present), modalities=('audio',), label=dict(label=0), path='a.wav',
        start=0.0, end=1.0, sample_idx=0, broken=None, **more,
    )  # fmt: skip


def noise(samples):
    return np.random.default_rng(samples).standard_normal(samples).astype(np.float32) + 1


def packed(step, *waves, **more):
    return PackAVInputs()(AudioViews(2)(step(results(*waves, **more))))


def test_waveforms_without_their_mean_are_packed_to_what_the_frames_need():
    item = packed(DeviceLogMel(64, 10), noise(1700), noise(5000))
    assert item['inputs']['audio'].shape == (4, 1, 400 + 9 * 160)
    assert item['lengths']['audio'].tolist() == [1700, 1700, 1840, 1840]
    whole = torch.from_numpy(noise(5000))
    assert torch.equal(item['inputs']['audio'][2, 0], (whole - whole.mean())[:1840])
    assert not item['inputs']['audio'][0, 0, 1700:].any() and item['masks']['audio']


def test_a_clip_that_is_normalised_by_itself_is_packed_whole():
    step = DeviceLogMel(64, 10, per_clip=True)
    clips = [packed(step, noise(samples)) for samples in (900, 5000)]
    assert [clip['inputs']['audio'].shape[-1] for clip in clips] == [1840, 5000]
    batch = av_collate(clips)
    assert batch['inputs']['audio'].shape == (2, 2, 1, 5000)
    assert batch['lengths']['audio'].tolist() == [[900, 900], [5000, 5000]]
    assert not batch['inputs']['audio'][0, ..., 1840:].any()


@pytest.mark.parametrize(('samples', 'present'), [(399, True), (5000, False)])
def test_absent_sound_has_no_samples(samples, present):
    item = packed(DeviceLogMel(64, 10), noise(samples), present=present)
    assert not item['masks']['audio'] and item['lengths']['audio'].tolist() == [0, 0]
    assert item['inputs']['audio'].shape == (2, 1, 1840) and not item['inputs']['audio'].any()


def test_to_everything_else_it_is_the_front_end():
    options = dict(num_mel_bins=64, target_frames=10, per_clip=True)
    deferred, front_end = DeviceLogMel(**options), LogMel(**options)
    assert deferred.identity() == front_end.identity() and deferred.describe() == front_end.describe()
    assert deferred.shape == front_end.shape and deferred.window == front_end.window
    assert np.array_equal(deferred.spectrogram(noise(900)), front_end.spectrogram(noise(900)))
    assert is_deterministic(deferred) and touched(deferred) == {'audio'}
    for wave in (noise(900), noise(5000)):
        assert deferred(results(wave))['audio_frames'] == front_end(results(wave))['audio_frames']


def test_mistakes():
    with pytest.raises(ConfigError, match='^DeviceLogMel reads 16000 samples a second, but LoadClip gives 8000'):
        DeviceLogMel()(results(noise(900), sample_rate=8000))
    with pytest.raises(ValueError, match='DeviceLogMel is followed by a step that makes spectrograms'):
        packed(lambda given: {**DeviceLogMel()(given), 'audio': [np.zeros((3, 4), np.float32)]}, noise(900))
