"""The description against what the pipeline does: followed with torchaudio, OpenCV and NumPy alone."""

import cv2
import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from mmav.apis import AVInferencer
from mmav.deployment.preprocessing import blank_clip, describe_pipeline
from mmav.errors import ConfigError
from mmav.registry import TRANSFORMS
from tests.apis.models import config

BOTH = ('video', 'audio')


def described(cfg):
    inferencer = AVInferencer(cfg, None, device='cpu', show_progress=False)
    pipeline = cfg.test_dataloader.dataset.pipeline
    return inferencer, describe_pipeline(inferencer.pipeline.transforms, pipeline, BOTH, {})


def build(*steps):
    return [TRANSFORMS.build(step) for step in steps], list(steps)


def test_whoever_follows_it_gets_what_the_model_is_fed():
    inferencer, text = described(config(window=1.5))
    rng = np.random.default_rng(0)
    fps, seconds = 20, 2.0
    frames = cv2.resize(rng.integers(0, 256, (40 * 6, 8, 3), dtype=np.uint8), (48, 40 * 36)).reshape(40, 36, 48, 3)
    wave = rng.standard_normal(32000).astype(np.float32) * 0.1
    fed = inferencer.read(dict(video=frames, fps=fps, audio=wave, sample_rate=16000))['inputs']

    start, count = (seconds - text['window']['seconds']) / 2, text['video']['frames']
    times = start + (np.arange(count) + 0.5) * text['window']['seconds'] / count
    (crop,) = text['video']['then']
    top, left = (36 - crop['height']) // 2, (48 - crop['width']) // 2
    assert text['video']['short_side'] == 36  # the frames have that size already
    nearest = frames[np.abs(np.arange(40)[None] / fps - times[:, None]).argmin(axis=1)]
    own = nearest[:, top : top + crop['height'], left : left + crop['width']].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(fed['video'][0].numpy(), own)

    how, target = text['audio']['log_mel'], text['audio']['target_frames']
    part = torch.from_numpy(wave[int(start * 16000) : int((start + text['window']['seconds']) * 16000)])
    mel = kaldi.fbank(
        (part - part.mean())[None],
        sample_frequency=how['sample_rate'],
        frame_length=how['frame_length_ms'],
        frame_shift=how['frame_shift_ms'],
        preemphasis_coefficient=how['preemphasis'],
        window_type=how['window'],
        num_mel_bins=how['num_mel_bins'],
        low_freq=how['low_freq'],
        high_freq=how['high_freq'],
        dither=how['dither'],
        use_energy=how['use_energy'],
    ).T
    assert mel.shape[1] < target  # there is something to pad
    padded = torch.nn.functional.pad(mel, (0, target - mel.shape[1]))
    torch.testing.assert_close(fed['audio'][0, 0], padded, atol=1e-3, rtol=0)
    assert text['other_steps'] == []


def test_intervals_views_sizes_and_steps_of_ones_own():
    steps, written = build(
        dict(type='LoadClip', num_frames=3, frame_interval=0.5, num_views=2, mode='uniform'),
        dict(type='Resize', size=(20, 30)),
        dict(type='RandomFlip'),
        dict(type='LogMel', num_mel_bins=16, target_frames=50, frame_shift_ms=20.0),
        dict(type='PackAVInputs'),
    )
    text = describe_pipeline(steps, written, BOTH, dict(video=dict(mean=[1.0], std=[2.0])))
    assert text['other_steps'] == [dict(type='RandomFlip')]
    video, audio = text['video'], text['audio']
    assert video['sampling']['mode'] == 'interval' and video['sampling']['seconds_between_frames'] == 0.5
    assert video['views'] == 2 and 'average the probabilities' in video['averaging'] and 'short_side' not in video
    assert video['then'] == [dict(step='resize', size=(20, 30), interpolation='bilinear')]
    assert video['normalised_in_graph'] == dict(mean=[1.0], std=[2.0]) and audio['normalised_in_graph'] is None
    assert (audio['log_mel']['frame_shift_ms'], audio['log_mel']['num_mel_bins'], audio['target_frames']) == (
        20,
        16,
        50,
    )
    assert text['window'] == dict(seconds=None, place='the whole clip')
    assert 'audio' not in describe_pipeline(steps, written, ('video',), {})


def test_blank_clip_has_the_shapes_that_the_model_is_fed():
    steps, _ = build(
        dict(type='LoadClip', num_frames=3, num_views=2, mode='uniform', short_side=40),
        dict(type='CenterCrop', size=(20, 30)),
        dict(type='LogMel', num_mel_bins=16, target_frames=50),
        dict(type='PackAVInputs'),
    )
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in blank_clip(steps, BOTH).items()}
    assert shapes == dict(video=((2, 3, 3, 20, 30), torch.uint8), audio=((1, 1, 16, 50), torch.float32))
    with pytest.raises(ConfigError, match='does not say what the model is fed: audio must be spectrograms'):
        blank_clip([steps[0], steps[1], steps[3]], BOTH)
