"""A second audio front end, a plain magnitude spectrogram, goes wherever LogMel goes."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mmav.analysis.grad_cam.clips import look
from mmav.analysis.grad_cam.pictures import draw_spectrogram
from mmav.apis import AVInferencer
from mmav.datasets import AVDataset
from mmav.datasets.transforms import LoadClip, LogMel, PackAVInputs, Spectrogram
from mmav.datasets.transforms.spectrogram import find_spectrogram
from mmav.deployment.preprocessing import blank_clip, describe_pipeline
from mmav.errors import ConfigError
from mmav.preparation.audio_stats import front_end, measure
from mmav.registry import TRANSFORMS
from mmav.visualization.grad_cam import GradCAM
from tests.inference.models import config, write_model

SIZE, SHIFT = 128, 160  # samples


@TRANSFORMS.register_module()
class Magnitudes(Spectrogram):
    """Magnitudes of a short-time Fourier transform: frames of 8 ms, one every 10 ms."""

    def __init__(self, target_frames=100, **options):
        super().__init__(
            SIZE // 2 + 1, target_frames, sample_rate=16000, frame_length_ms=8.0, frame_shift_ms=10.0, **options
        )

    def compute(self, waveform):
        return torch.stft(
            waveform, SIZE, SHIFT, window=torch.hann_window(SIZE), center=False, return_complex=True
        ).abs()

    def bin_of(self, hertz):
        return hertz / 8000 * (self.num_bins - 1) + 0.5


STEP = dict(type='Magnitudes', target_frames=250)


def wave(seconds, hertz=1000.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16000)) / 16000).astype(np.float32)


@pytest.mark.parametrize(('seconds', 'frames'), [(0.007, 0), (0.008, 1), (0.1, 10), (0.9, 90), (3.0, 100)])
def test_frames_that_fit_are_filled_and_the_rest_is_zeros(seconds, frames):
    made = Magnitudes()
    found = made.spectrogram(wave(seconds))
    assert made.num_frames(len(wave(seconds))) == frames and found.shape == (65, 100) and found.dtype == np.float32
    assert (found[:, :frames].max(axis=0) > 1).all() and not found[:, frames:].any()
    for k in range(frames):  # the formula, frame by frame
        frame = wave(seconds)[k * SHIFT : k * SHIFT + SIZE] * np.hanning(SIZE + 1)[:-1]
        np.testing.assert_allclose(found[:, k], np.abs(np.fft.rfft(frame)), atol=1e-4)
    assert abs(found[:, 0].argmax() + 0.5 - made.bin_of(1000.0)) <= 1 or not frames


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [
        (lambda found: found[:40], r'\(40, 90\)'),
        (lambda found: found.T, r'\(90, 65\)'),
        (lambda found: found[:, :89], r'\(65, 89\)'),
        (lambda found: found[None], r'\(1, 65, 90\)'),
        (lambda found: found.numpy(), 'ndarray'),
    ],
)
def test_a_spectrogram_of_another_form_is_refused(wrong, told, monkeypatch):
    compute = Magnitudes.compute
    monkeypatch.setattr(Magnitudes, 'compute', lambda self, waveform: wrong(compute(self, waveform)))
    text = rf'^Magnitudes.compute returns {told} for 14400 samples, not a tensor \(65, T\), T at least the 90 frames'
    with pytest.raises(ConfigError, match=text):
        Magnitudes().spectrogram(wave(0.9))


def test_parameters_of_a_front_end_get_no_gradient():
    made = Magnitudes()
    made.compute = lambda waveform: torch.nn.Parameter(torch.ones(65, 90))
    assert made.spectrogram(wave(0.9))[:, :90].all()


def test_a_clip_of_which_one_view_is_too_short_has_no_audio():
    results = dict(audio=[wave(1.0), wave(0.005)], masks=dict(audio=True))
    results = Magnitudes().transform(results)
    assert results['masks']['audio'] is False and not np.any(results['audio'])
    assert Magnitudes().transform(dict(audio=[wave(1.0)], masks=dict(audio=True)))['masks']['audio'] is True


def test_seconds_of_its_columns():
    assert (Magnitudes().window, Magnitudes().step) == (1.0, 0.01)
    assert Magnitudes().first == pytest.approx(-0.001) and LogMel().first == pytest.approx(0.0075)
    assert (
        find_spectrogram([PackAVInputs(), Magnitudes()]).num_bins == 65 and find_spectrogram([PackAVInputs()]) is None
    )


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    cfg = config(('video', 'audio'))
    steps = cfg.test_dataloader.dataset.pipeline
    steps[[step['type'] for step in steps].index('LogMel')] = STEP
    cfg.model.backbones.audio.input_size = (65, 250)
    return AVInferencer(*write_model(tmp_path_factory.mktemp('model'), cfg), device='cpu', show_progress=False)


def test_inference_and_maps(inferencer, clip):
    assert inferencer.window == 2.5
    (result,) = inferencer(str(clip), num_workers=0)
    assert result['present'] == ['video', 'audio'] and result['predictions']
    seen = look(inferencer, str(clip))
    assert seen.sound.step == 0.01 and seen.item['inputs']['audio'].shape == (1, 1, 65, 250)
    data = inferencer.prepare([seen.item])
    cam = GradCAM(inferencer.model)(data['inputs'], data['masks'])['audio'][0, 0].numpy()
    axes = Figure().subplots()
    draw_spectrogram(axes, seen.item['inputs']['audio'][0, 0].numpy(), cam, axes_of=seen.sound)
    labels = {label.get_text(): place for label, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert labels['4 kHz'] == 32.5 and axes.get_ylabel() == '65 bins' and axes.get_xlabel() == 'seconds'
    unknown = Figure().subplots()
    plain = Spectrogram(65, 250, sample_rate=16000, frame_length_ms=8.0, frame_shift_ms=10.0)
    draw_spectrogram(unknown, np.ones((65, 250)), None, axes_of=plain)
    assert list(unknown.get_yticks()) == [0, 16, 32, 48, 65]


def test_statistics(clip, tmp_path):
    (tmp_path / 'train.csv').write_text(f'path,label\n{clip},0\n')
    steps = [dict(type='LoadClip', num_frames=2, mode='random'), STEP, dict(type='PackAVInputs')]
    load, made = front_end(steps)
    data = AVDataset(str(tmp_path / 'train.csv'), [], classes=['a'], modalities=['audio'])
    found = measure(data, load, made, jobs=1)
    results = dict(path=str(clip), start=None, end=None, modalities=('audio',), broken=None, rng=None)
    (samples,) = LoadClip(num_frames=2, mode='uniform').transform(results)['audio']
    values = made.compute(torch.from_numpy(samples))[:, :250].double()
    assert found.mean == pytest.approx(values.mean().item()) and found.clips == 1
    assert found.std == pytest.approx(values.std(correction=0).item())


def test_an_export_names_the_step_that_it_cannot_describe(inferencer):
    steps = inferencer.pipeline.transforms
    assert blank_clip(steps, ['audio'])['audio'].shape == (1, 1, 65, 250)
    written = [STEP if isinstance(step, Spectrogram) else {} for step in steps]
    found = describe_pipeline(steps, written, ['video', 'audio'], {})
    assert found['other_steps'] == [STEP] and found['audio']['target_frames'] == 250 and 'log_mel' not in found['audio']
