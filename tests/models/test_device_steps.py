"""Steps on the device against the transforms of the same names, on real and on fake tensors."""

import contextlib
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmav.datasets import av_collate
from mmav.datasets.transforms import (
    AudioViews,
    LogMel,
    PackAVInputs,
    RandomErasing,
    SpecAugment,
)
from mmav.datasets.transforms import DeviceLogMel as Waveforms
from mmav.engine.memory.fake_gpu import fake_gpu
from mmav.models import AVDataPreprocessor, device_steps
from mmav.models.device_steps import DeviceLogMel, DeviceRandomErasing, DeviceSpecAugment
from mmav.structures import AVDataSample
from tests.models.test_no_sync import no_waiting

RATE = 16000
MELS = [
    dict(),
    dict(per_clip=True),
    dict(num_mel_bins=64, target_frames=64, frame_shift_ms=31.0),
    dict(num_mel_bins=64, target_frames=200, per_clip=True),
    dict(num_mel_bins=40, target_frames=300, sample_rate=44100),
]


def sounds():
    """Noise of many lengths, shorter than a frame and longer than the spectrogram included; a tone, silence, steps."""
    rng, time = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    lengths = (40000, 399, 400, 5000, 200000, 16000, 1102, 1103)
    found = [0.1 * rng.standard_normal(length) for length in lengths]
    found += [np.sin(2 * np.pi * 440 * time), np.zeros(2 * RATE), np.sign(np.sin(2 * np.pi * 100 * time)) / 2]
    return [sound.astype(np.float32) for sound in found]


def batch(step, waves, *, present=True, windows=1, views=1):
    """Clips collated after a front end; each has some windows of its own, and views of them."""
    clips = []
    for wave in waves:
        results = dict(
            audio=[wave * np.float32(1 + k) for k in range(windows)], masks=dict(audio=present), modalities=('audio',),
            label=dict(label=0), path='a.wav', start=0.0, end=1.0, sample_idx=0, broken=None,
        )  # fmt: skip
        for each in (step, AudioViews(views), PackAVInputs()):
            results = each(results)
        clips.append(results)
    return av_collate(clips)


@pytest.mark.parametrize('options', MELS)
def test_spectrograms_equal_those_of_workers(options):
    views = dict(windows=2, views=2) if 'target_frames' in options else {}
    expected = batch(LogMel(**options), sounds(), **views)
    given = batch(Waveforms(**options), sounds(), **views)
    found = AVDataPreprocessor(log_mel=options)(given)
    torch.testing.assert_close(found['inputs']['audio'], expected['inputs']['audio'], atol=1e-4, rtol=0)
    assert torch.equal(given['masks']['audio'], expected['masks']['audio'])
    assert torch.equal(found['masks']['audio'], expected['masks']['audio'])  # one clip is too short
    assert not found['inputs']['audio'][1].any()


def test_absent_sound_is_zeros():
    given = batch(Waveforms(per_clip=True), sounds()[:2], present=False)
    found = AVDataPreprocessor(log_mel=dict(per_clip=True))(given)
    assert found['inputs']['audio'].shape == (2, 1, 1, 128, 1024) and not found['inputs']['audio'].any()
    assert not found['masks']['audio'].any()


def test_a_mixed_precision_is_not_for_spectrograms():
    given = batch(Waveforms(), sounds()[:1])
    plain = AVDataPreprocessor(log_mel={})(given)['inputs']['audio']
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(AVDataPreprocessor(log_mel={})(given)['inputs']['audio'], plain)


@pytest.mark.parametrize('skip', [False, True])
def test_the_same_draws_mask_the_same(skip, monkeypatch):
    """Of one spectrogram; both draw width and start of the band, then of the stretch."""
    options = dict(freq_mask=20, time_mask=60, skip_padding=skip)
    for seed in range(20):
        draws = np.random.default_rng(seed)
        monkeypatch.setattr(torch, 'rand', lambda shape, draws=draws, **_: torch.tensor(draws.random(shape)))
        ones = np.ones((32, 50), np.float32)
        results = dict(audio=[ones], rng=np.random.default_rng(seed), audio_frames=30)
        expected = SpecAugment(**options)(results)['audio'][0]
        found = DeviceSpecAugment(**options)(torch.ones(1, 1, 1, 32, 50), torch.tensor([30]))
        assert torch.equal(found[0, 0, 0], torch.from_numpy(expected))


def test_each_view_and_clip_has_masks_of_its_own():
    torch.manual_seed(0)
    ones = torch.ones(3, 2, 1, 64, 96)
    found = DeviceSpecAugment(30, 40, num_masks=2, num_views=2)(ones, torch.tensor([96, 96, 96]))
    assert found.shape == (3, 4, 1, 64, 96) and ones.all()
    dark = (found == 0).flatten(0, 2)
    assert len({view.numpy().tobytes() for view in dark}) == 12
    rows, columns = dark.all(2), dark.all(1)
    assert torch.equal(dark, rows[:, :, None] | columns[:, None])
    # two masks each, which can meet
    assert {int(edges.diff().eq(1).sum() + edges[0]) for edges in rows.int()} <= {0, 1, 2}


class Draws:
    """Python's generator, drawing what a transform's draws."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.random, self.uniform = self.rng.random, self.rng.uniform

    def randint(self, low, high):
        return int(self.rng.integers(low, high + 1))


def test_the_same_draws_erase_the_same(monkeypatch):
    options, erased = dict(p=0.7, area=(0.02, 0.5)), 0
    frames = np.zeros((2, 24, 32, 3), np.uint8)
    for seed in range(30):
        monkeypatch.setattr(device_steps, 'random', Draws(seed))
        results = RandomErasing(**options, mean=200, std=10)(dict(video=[frames], rng=np.random.default_rng(seed)))
        video = torch.zeros(1, 1, 3, 2, 24, 32)
        found = DeviceRandomErasing(**options, mean=200, std=10)(video, lambda noise: noise)
        expected = torch.from_numpy(results['video'][0]).permute(3, 0, 1, 2)
        assert torch.equal(found[0, 0] > 0, expected > 0)
        erased += bool(expected.any())
    assert 10 < erased < 30


def test_noise_is_distributed_as_in_workers():
    torch.manual_seed(0)
    random.seed(0)
    video = torch.full((64, 1, 3, 4, 32, 32), -1.0)
    found = DeviceRandomErasing(p=1.0)(video, lambda noise: noise)
    found = found[found >= 0].numpy()
    levels = RandomErasing(p=1.0).levels
    assert (found == found.round()).all()
    for share in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98):
        assert np.quantile(found, share) == pytest.approx(np.quantile(levels, share), abs=1)


def make_batch():
    data = batch(Waveforms(64, 96), sounds()[:4], windows=2)
    video = torch.randint(256, (4, 2, 3, 2, 16, 16), dtype=torch.uint8)
    masks = dict(video=torch.ones(4, dtype=torch.bool), audio=torch.tensor([True, False, True, True]))
    samples = [AVDataSample().set_gt_label(k) for k in range(4)]
    return dict(inputs=dict(video=video, **data['inputs']), masks=masks, data_samples=samples, lengths=data['lengths'])


def make_preprocessor(**more):
    norm = dict(video=dict(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0)), audio=dict(mean=-4.0, std=9.0))
    steps = dict(random_erasing=dict(p=0.6), log_mel=dict(num_mel_bins=64, target_frames=96))
    return AVDataPreprocessor(norm, **steps, spec_augment=dict(freq_mask=20, time_mask=30, num_views=2), **more)


def test_seeds_repeat_a_batch_and_nothing_of_it_is_changed():
    data, preprocessor, found = make_batch(), make_preprocessor(), []
    before = data['inputs']['video'].clone()
    for seed in (3, 3, 4):
        random.seed(seed)
        torch.manual_seed(seed)
        found.append(preprocessor(data, training=True)['inputs'])
    assert torch.equal(data['inputs']['video'], before)
    assert found[0]['audio'].shape == (4, 4, 1, 64, 96)
    for name in found[0]:
        assert torch.equal(found[0][name], found[1][name]) and not torch.equal(found[0][name], found[2][name])


def test_frames_without_a_norm_are_not_the_callers():
    frames = torch.zeros(2, 1, 3, 2, 16, 16)
    data = dict(inputs=dict(video=frames), masks=None, data_samples=[])
    assert AVDataPreprocessor(random_erasing=dict(p=1.0))(data, training=True)['inputs']['video'].any()
    assert not frames.any()


def test_testing_draws_nothing():
    data, preprocessor = make_batch(), make_preprocessor()
    one, two = (preprocessor(data)['inputs'] for _ in range(2))
    assert one['audio'].shape == (4, 2, 1, 64, 96)
    assert torch.equal(one['audio'], two['audio']) and torch.equal(one['video'], two['video'])


def test_no_value_is_needed_from_a_device(monkeypatch):
    """On 'meta', which has none, and no autocast."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: contextlib.nullcontext())
    preprocessor, data = make_preprocessor().to('meta'), make_batch()
    random.seed(0)
    with no_waiting('meta'):
        found = preprocessor(data, training=True)
    assert {name: tuple(x.shape) for name, x in found['inputs'].items()} == dict(
        video=(4, 2, 3, 2, 16, 16), audio=(4, 4, 1, 64, 96)
    )
    assert all(x.device.type == 'meta' for x in found['inputs'].values())


@pytest.mark.parametrize('per_clip', [False, True])
def test_fake_tensors_of_a_gpu(per_clip):
    with fake_gpu():
        waves, lengths = torch.empty(4, 2, 1, RATE), torch.empty(4, 2, dtype=torch.int64)
        mel = DeviceLogMel(64, 96, per_clip=per_clip).to('cuda')(waves, lengths)
        masked = DeviceSpecAugment(num_views=2)(mel, torch.empty(4, dtype=torch.int64, device='cpu'))
        video = DeviceRandomErasing(p=1.0)(torch.empty(4, 2, 3, 2, 16, 16), lambda noise: noise)
    shapes = [(x.device.type, tuple(x.shape)) for x in (mel, masked, video)]
    assert shapes == [('cuda', (4, 2, 1, 64, 96)), ('cuda', (4, 4, 1, 64, 96)), ('cuda', (4, 2, 3, 2, 16, 16))]


def test_a_gpu_reads_pinned_memory(monkeypatch):
    pinned = SimpleNamespace(to=lambda device, non_blocking: (device.type, non_blocking))
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda self: pinned)
    assert device_steps.to_device(torch.ones(1), torch.device('cuda')) == ('cuda', True)


@pytest.mark.parametrize(
    ('step', 'options', 'message'),
    [
        (DeviceLogMel, dict(num_mel_bins=3), 'need at least 4 mel bins and 1 frame, got 3 and 1024'),
        (DeviceSpecAugment, dict(num_views=0), 'num_masks and num_views must be at least 1, got 1 and 0'),
        (DeviceSpecAugment, dict(freq_mask=-1), 'mask widths cannot be negative, got freq_mask=-1'),
        (DeviceRandomErasing, dict(p=2), r'p must lie in \[0, 1\], got 2'),
        (DeviceRandomErasing, dict(area=(0.5, 0.1)), r'area and min_aspect must lie in \(0, 1\]'),
    ],
)
def test_arguments_are_checked(step, options, message):
    with pytest.raises(ValueError, match=message):
        step(**options)


@pytest.mark.gpu
@pytest.mark.parametrize('options', MELS[:2])
def test_spectrograms_on_a_gpu(options):
    """Its Fourier transform rounds otherwise, which shows in bins far below a frame's loudest."""
    expected = batch(LogMel(**options), sounds())['inputs']['audio']
    with torch.autocast('cuda', torch.bfloat16):
        found = AVDataPreprocessor(log_mel=options).cuda()(batch(Waveforms(**options), sounds()))['inputs']['audio']
    difference = (found.cpu() - expected).abs()
    assert difference.flatten().kthvalue(int(0.999 * difference.numel())).values <= 1e-4
    assert difference.max() <= 0.05
