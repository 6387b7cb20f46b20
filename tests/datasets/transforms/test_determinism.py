"""What transforms say about chance holds, for every one that is registered."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from mmcv.transforms import BaseTransform

from mmav.datasets.transforms import CenterCrop, LoadClip, LogMel, RandomFlip, SpecAugment, WaveAugment
from mmav.datasets.transforms.determinism import is_deterministic, split_steps, touched
from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.registry import TRANSFORMS

TRANSFORMS.import_from_location()
OURS = sorted(name for name, kind in TRANSFORMS.module_dict.items() if kind.__module__.startswith('mmav.'))
ARGUMENTS = dict(
    CenterCrop=dict(size=12),
    HFSpectrogram=dict(extractor=dict(feature_extractor_type='ASTFeatureExtractor', max_length=24)),
    LoadClip=dict(num_frames=2, mode='uniform', short_side=16),
    LogMel=dict(num_mel_bins=8, target_frames=24),
    RandomResizedCrop=dict(size=12),
    Resize=dict(size=12),
    SpatialCrops=dict(size=12),
    SpecAugment=dict(freq_mask=4, time_mask=4),
    Waveform=dict(target_samples=900),
)
SPECTROGRAMS = ('SpecAugment', 'PackAVInputs')


def build(name, **options):
    if name == 'HFSpectrogram':
        pytest.importorskip('transformers')
    return TRANSFORMS.build(dict(type=name, **{**ARGUMENTS.get(name, {}), **options}))


def given(name, clip, seed):
    """A clip as a step gets it: behind LoadClip, and behind LogMel where that has to come first."""
    results = dict(path=str(clip), start=None, end=None, modalities=('video', 'audio'), broken=None, sample_idx=0)
    results.update(label=0, num_classes=dict(label=1), rng=np.random.default_rng(seed))
    before = [] if name == 'LoadClip' else ['LoadClip', *(['LogMel'] if name in SPECTROGRAMS else [])]
    for step in before:
        results = build(step)(results)
    return results


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one if name != 'rng')
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


@pytest.mark.parametrize('name', OURS)
def test_what_a_step_says_holds(name, clip):
    step = build(name)
    before = [given(name, clip, seed) for seed in (1, 2)]
    after = []
    for results in before:
        state = results['rng'].bit_generator.state
        after.append(step(copy.deepcopy(results)))
        if is_deterministic(step):
            assert after[-1]['rng'].bit_generator.state == state
    if is_deterministic(step):
        assert same(*after)
    # It leaves alone what it does not say it touches.
    for modality in {'video', 'audio'} - (touched(step) or {'video', 'audio'}):
        belongs = [modality, dict(video='frame_times', audio='audio_frames')[modality]]
        assert all(same(after[0].get(entry), before[0].get(entry)) for entry in belongs)
        assert after[0]['masks'][modality] == before[0]['masks'][modality]


@pytest.mark.parametrize('name', OURS)
def test_a_step_that_touches_one_modality_does_without_the_other(name, clip):
    step = build(name)
    for modality in {'video', 'audio'} - (touched(step) or {'video', 'audio'}):
        whole, part = given(name, clip, 1), given(name, clip, 1)
        for entry in (modality, dict(video='frame_times', audio='audio_frames')[modality]):
            part.pop(entry, None)
        part['masks'].pop(modality)
        (other,) = touched(step)
        assert same(step(whole)[other], step(part)[other])


def test_the_mode_decides():
    assert is_deterministic(LoadClip(mode='uniform')) and not is_deterministic(LoadClip(mode='random'))


def test_an_extractor_that_adds_noise_is_random():
    pytest.importorskip('transformers')
    whisper = dict(feature_extractor_type='WhisperFeatureExtractor', chunk_length=1)
    assert is_deterministic(build('HFSpectrogram', extractor=whisper))
    assert not is_deterministic(build('HFSpectrogram', extractor=dict(whisper, dither=0.1)))


def test_a_subclass_says_it_again():
    class Dithered(LogMel):
        pass

    class Own(Spectrogram):
        pass

    class Plain(BaseTransform):
        def transform(self, results):
            return results

    for kind in (Dithered, Own, Plain):
        step = kind.__new__(kind)
        assert not is_deterministic(step) and touched(step) is None
    assert not is_deterministic(lambda clip: clip)


def test_a_pipeline_is_split():
    def own(results):
        return results

    load, mel, crop = LoadClip(mode='uniform'), LogMel(), CenterCrop(8)
    flip, mask, wave = RandomFlip(), SpecAugment(), WaveAugment()
    assert split_steps([load, flip, mel, mask]) == ([load, mel], [flip, mask])
    assert split_steps([load, wave, mel, mask, crop]) == ([load, crop], [wave, mel, mask])
    assert split_steps([load, own, mel]) == ([load], [own, mel])
    assert split_steps([load, flip, crop, mel]) == ([load, mel], [flip, crop])
    assert split_steps([LoadClip(mode='random'), crop])[0] == []
