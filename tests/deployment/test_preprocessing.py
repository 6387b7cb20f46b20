"""The description is enough: somebody who follows it, without mmav, feeds the model what the pipeline feeds it."""

import json

import av
import numpy as np
import pytest
import torch

from mmav.apis import AVInferencer
from mmav.datasets.transforms import CenterCrop, FlipViews, LoadClip, LogMel, PackAVInputs, RandomFlip, SpatialCrops
from mmav.deployment.preprocessing import blank_clip, describe_pipeline, norm_of
from mmav.errors import ConfigError
from tests.inference.models import config, write_model

STEPS = [
    LoadClip(num_frames=4, frame_interval=0.2, num_views=3, mode='uniform', short_side=36, window=1.5),
    CenterCrop(size=32),
    LogMel(num_mel_bins=16, target_frames=100),
    PackAVInputs(),
]


def test_numbers_are_those_of_the_steps():
    norm = dict(video=dict(mean=[115.0], std=[57.0]), audio=dict(mean=[-5.0], std=[4.5]))
    found = describe_pipeline(STEPS, [{}] * 4, ['video', 'audio'], norm)
    assert json.loads(json.dumps(found)) == found
    assert found['window']['seconds'] == 1.5 and found['other_steps'] == []
    video, audio = found['video'], found['audio']
    assert (video['frames'], video['views'], video['short_side']) == (4, 3, 36)
    assert video['sampling']['seconds_between_frames'] == 0.2
    assert video['then'][0] | dict(too_small='') == dict(step='center_crop', height=32, width=32, too_small='')
    assert video['normalised_in_graph'] == norm['video'] and audio['normalised_in_graph'] == norm['audio']
    assert (audio['log_mel']['num_mel_bins'], audio['target_frames']) == (16, 100)


def test_views_of_frames_are_described():
    steps = [
        LoadClip(num_frames=4, num_views=5, num_windows=2, mode='uniform', window=1.5, short_side=32),
        SpatialCrops(32),
        FlipViews(),
        *STEPS[2:],
    ]
    found = describe_pipeline(steps, [{}] * 5, ['video', 'audio'], {})
    assert json.loads(json.dumps(found)) == found and found['other_steps'] == []
    video = found['video']
    assert video['views'] == len(blank_clip(steps, ['video'])['video']) == 2 * 5 * 3 * 2
    assert video['windows'] == 2
    assert [step['step'] for step in video['then']] == ['spatial_crops', 'flip_views'] and video['then'][0][
        'number'
    ] == 3


def test_only_what_the_model_reads_is_described_and_own_steps_are_named():
    steps, written = [*STEPS[:2], RandomFlip(), *STEPS[2:]], [{}, {}, dict(type='RandomFlip', prob=0.5), {}, {}]
    found = describe_pipeline(steps, written, ['video'], {})
    assert 'audio' not in found and found['other_steps'] == [dict(type='RandomFlip', prob=0.5)]


def test_log_mels_made_by_the_description_alone(clip, tmp_path):
    from torchaudio.compliance import kaldi

    inferencer = AVInferencer(*write_model(tmp_path, config()), device='cpu', show_progress=False)
    norm = norm_of(inferencer.model.data_preprocessor)
    audio = describe_pipeline(inferencer.pipeline.transforms, [{}] * 4, ['audio'], norm)['audio']
    with av.open(str(clip)) as container:
        wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    told = audio['log_mel']
    wave = torch.from_numpy(wave[:, : 2 * audio['sample_rate']])
    mels = kaldi.fbank(
        wave - wave.mean(),
        htk_compat=True,
        sample_frequency=told['sample_rate'],
        use_energy=told['use_energy'],
        window_type=told['window'],
        num_mel_bins=told['num_mel_bins'],
        dither=told['dither'],
        frame_shift=told['frame_shift_ms'],
        frame_length=told['frame_length_ms'],
        low_freq=told['low_freq'],
        high_freq=told['high_freq'],
        preemphasis_coefficient=told['preemphasis'],
    )
    padded = torch.nn.functional.pad(mels.T, (0, audio['target_frames'] - len(mels)))
    fed = inferencer.read(clip)['inputs']['audio'][0, 0]
    assert (padded - fed).abs().mean() < 0.05  # the AAC track read in one piece and by time


def test_shapes_and_types_of_what_is_fed():
    clip = blank_clip(STEPS, ['video', 'audio'])
    assert {name: (tuple(x.shape), x.dtype) for name, x in clip.items()} == dict(
        video=((3, 3, 4, 32, 32), torch.uint8), audio=((1, 1, 16, 100), torch.float32)
    )
    with pytest.raises(ConfigError, match='the test pipeline does not say what the model is fed: .*: put LogMel, or'):
        blank_clip([STEPS[0], STEPS[1], STEPS[3]], ['audio'])
