from __future__ import annotations

import numpy as np
import pytest
import torch

from mmav.datasets.transforms import PackAVInputs
from mmav.errors import ConfigError


def results(**more):
    rng = np.random.default_rng(0)
    clip = dict(
        video=[rng.integers(0, 256, (4, 6, 8, 3), dtype=np.uint8) for _ in range(2)],
        audio=[rng.standard_normal((16, 10)).astype(np.float32)],
        masks=dict(video=True, audio=False),
        modalities=('video', 'audio'),
        path='a.mp4',
        start=0.0,
        end=2.0,
        sample_idx=3,
        broken=None,
        label=5,
    )
    return {**clip, **more}


def test_shapes_types_and_order_of_axes():
    given = results()
    out = PackAVInputs()(given)
    video, audio = out['inputs']['video'], out['inputs']['audio']
    assert (video.shape, video.dtype) == ((2, 3, 4, 6, 8), torch.uint8)
    assert (audio.shape, audio.dtype) == ((1, 1, 16, 10), torch.float32)
    assert video[1, 2, 3, 4, 5] == given['video'][1][3, 4, 5, 2]
    assert {k: v.item() for k, v in out['masks'].items()} == dict(video=True, audio=False)
    sample = out['data_samples']
    assert (sample.gt_label.item(), sample.path, sample.end, sample.sample_idx, sample.broken) == (
        5,
        'a.mp4',
        2,
        3,
        None,
    )


def test_several_labels():
    sample = PackAVInputs()(results(label=dict(verb=5, noun=7)))['data_samples']
    assert (sample.gt_verb.item(), sample.gt_noun.item()) == (5, 7)
    assert 'gt_label' not in sample


def test_cut_out_frames_are_packed():
    whole = results()['video']
    video = PackAVInputs()(results(video=[view[:, 1:5, 2:7] for view in whole]))['inputs']['video']
    np.testing.assert_array_equal(video, np.stack(whole)[:, :, 1:5, 2:7].transpose(0, 4, 1, 2, 3))


def test_mirrored_frames_are_packed():
    given = results(video=[results()['video'][0][:, :, ::-1]])
    assert PackAVInputs()(given)['inputs']['video'][0, 0, 0, 0, 0] == given['video'][0][0, 0, 0, 0]


def test_only_the_modalities_asked_for():
    out = PackAVInputs()(results(modalities=('audio',), masks=dict(audio=True)))
    assert set(out['inputs']) == set(out['masks']) == {'audio'}


def test_views_of_different_sizes_and_waveforms():
    uneven = [np.zeros((4, 6, 8, 3), np.uint8), np.zeros((4, 6, 9, 3), np.uint8)]
    with pytest.raises(ValueError, match='views of one clip differ in size'):
        PackAVInputs()(results(video=uneven))
    with pytest.raises(ValueError, match='put LogMel, or another Spectrogram, before'):
        PackAVInputs()(results(audio=[np.zeros(100, np.float32)]))


def test_any_number_of_labels_of_a_part():
    sample = PackAVInputs()(results(label=dict(label=(0, 3)), num_classes=dict(label=5)))['data_samples']
    assert sample.target().tolist() == [1, 0, 0, 1, 0] and sample.target().dtype == torch.float32
    assert sample.multi_label and 'gt_label' not in sample
    assert not PackAVInputs()(results(label=(), num_classes=dict(label=5)))['data_samples'].target().any()
    with pytest.raises(ConfigError, match='a.mp4 has several labels, .* an unknown number of classes'):
        PackAVInputs()(results(label=(0, 3)))


def test_no_label_at_all():
    sample = PackAVInputs()(results(label={}))['data_samples']
    assert not list(sample.keys())
