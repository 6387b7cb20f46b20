import numpy as np
import pytest
from transformers import Wav2Vec2FeatureExtractor

from mmav.datasets import av_collate
from mmav.datasets.transforms import LoadClip, LogMel, PackAVInputs, SpecAugment, Waveform
from mmav.deployment.preprocessing import blank_clip, describe_pipeline
from mmav.errors import ConfigError
from mmav.preparation.audio_stats import clip_stats
from tests.models.hf_families import waveform

LOAD = LoadClip(num_frames=2, mode='uniform', window=1.0)


def read(path, *steps):
    results = dict(
        path=str(path), start=None, end=None, modalities=('audio',), broken=None, rng=np.random.default_rng(0)
    )
    results |= dict(label=0, sample_idx=0)
    for step in steps:
        results = step(results)
    return results


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('samples', [3000, 4000, 5000])
def test_samples_are_those_of_wav2vec2s_extractor(samples, normalize):
    wave = waveform(samples)
    made = Waveform(4000, normalize=normalize).spectrogram(wave)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalize, return_attention_mask=True)
    options = dict(padding='max_length', max_length=4000, truncation=True, sampling_rate=16000, return_tensors='np')
    wanted = extractor(wave, **options)['input_values'][0]
    assert made.dtype == np.float32 and made.shape == (4000,)
    np.testing.assert_array_equal(made, wanted)


def test_a_clip_becomes_an_input_of_its_waveform(clip):
    item = read(clip, LOAD, Waveform(20000, normalize=True), PackAVInputs())
    assert item['inputs']['audio'].shape == (1, 1, 20000) and bool(item['masks']['audio'])
    assert av_collate([item, item])['inputs']['audio'].shape == (2, 1, 1, 20000)
    found = item['inputs']['audio'][0, 0, :16000]
    assert abs(float(found.mean())) < 1e-5 and float(found.std()) == pytest.approx(1, abs=1e-3)
    assert not item['inputs']['audio'][0, 0, 16000:].any()


def test_a_clip_without_sound_is_zeros(silent):
    results = dict(path=str(silent), start=None, end=None, modalities=('video', 'audio'), broken=None, rng=None)
    results = Waveform(500)(LOAD(results))
    assert not results['masks']['audio'] and results['audio'][0].shape == (500,) and not results['audio'][0].any()


def test_a_waveform_alone_is_still_refused(clip):
    with pytest.raises(ValueError, match=r'put LogMel, or another Spectrogram, before PackAVInputs; or Waveform for a'):
        read(clip, LOAD, PackAVInputs())
    with pytest.raises(
        ConfigError, match=r'^SpecAugment masks spectrograms \(F, T\), got audio of shape \(300,\): put'
    ):
        read(clip, LOAD, Waveform(300), SpecAugment())


def test_the_library_asks_it_what_it_asks_a_spectrogram(clip):
    front_end = Waveform(8000, 16000)
    assert front_end.window == 0.5 and front_end.first == 0 and front_end.num_frames(100) == 100
    stats = clip_stats(LOAD, front_end, (str(clip), None, None))
    wave = read(clip, LOAD)['audio'][0][:8000].astype(np.float64)
    assert (stats.number, stats.mean) == (8000, pytest.approx(wave.mean()))
    assert stats.m2 == pytest.approx(np.square(wave - wave.mean()).sum())
    steps = [LOAD, front_end, PackAVInputs()]
    assert blank_clip(steps, ['audio'])['audio'].shape == (1, 1, 8000)
    described = describe_pipeline(steps, [{}, {}, {}], ['audio'], {})['audio']
    assert described['layout'] == 'B, 1, T' and described['target_frames'] == 8000
    assert described['waveform'] == dict(sample_rate=16000, normalisation='none')
    assert describe_pipeline([LOAD, LogMel()], [{}, {}], ['audio'], {})['audio']['layout'] == 'B, 1, F, T'


def test_what_it_is_does_not_depend_on_its_length():
    assert Waveform(100).identity() == Waveform(200).identity() != Waveform(100, normalize=True).identity()
    with pytest.raises(ValueError, match='target_samples must be at least 1, got 0'):
        Waveform(0)
