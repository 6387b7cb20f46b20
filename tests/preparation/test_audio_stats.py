"""Statistics against NumPy's over all spectrograms at once, from torchaudio's filter bank."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from mmav.datasets import AVDataset
from mmav.datasets.media import open_media
from mmav.datasets.transforms import LoadClip
from mmav.errors import AbsentError, ConfigError, MediaError
from mmav.preparation.audio_stats import ClipStats, clip_stats, common_front_end, front_end, measure, merge

PIPELINE = [
    dict(type='LoadClip', num_frames=2, num_views=2, window=1.5, mode='random'),
    dict(type='LogMel', num_mel_bins=32, target_frames=200),
    dict(type='PackAVInputs'),
]


@pytest.fixture
def folder(tmp_path, clip, flashes, blind, silent, broken):
    rows = []
    for name, source in dict(a=clip, b=flashes, c=blind, d=silent, e=broken['text']).items():
        shutil.copy(source, tmp_path / f'{name}.mp4')
        rows.append(f'{name}.mp4,,,0')
    rows += ['a.mp4,0.2,0.7,0', 'gone.mp4,,,0']
    (tmp_path / 'train.csv').write_text('path,start,end,label\n' + '\n'.join(rows))
    return tmp_path


def spectrogram(path, start, end):
    with open_media(str(path)) as reader:
        wave = reader.read_audio(start, end, 16000)
    wave = torch.from_numpy(wave - wave.mean())
    options = dict(htk_compat=True, use_energy=False, window_type='hanning', dither=0.0, frame_shift=10)
    return kaldi.fbank(wave[None], sample_frequency=16000, num_mel_bins=32, **options).double().numpy()


@pytest.mark.parametrize('jobs', [1, 2])
def test_equal_to_all_values_at_once(folder, jobs):
    data = AVDataset('train.csv', [], data_root=str(folder), classes=['x'])
    found = measure(data, *front_end(PIPELINE), jobs=jobs)
    # The middle 1.5 s of 2 s and 4 s, and half a second whole.
    spans = [('a', 0.25, 1.75), ('b', 1.25, 2.75), ('c', 0.25, 1.75), ('a', 0.2, 0.7)]
    with open_media(str(folder / 'c.mp4')) as reader:
        spare = reader.info.duration - 1.5
    spans[2] = ('c', spare / 2, spare / 2 + 1.5)
    all_values = [spectrogram(folder / f'{name}.mp4', start, end) for name, start, end in spans]
    values = np.concatenate(all_values).reshape(-1)
    assert found.mean == pytest.approx(values.mean(), abs=1e-4)
    assert found.std == pytest.approx(values.std(), abs=1e-4)
    padded = np.concatenate([values, np.zeros(4 * 200 * 32 - len(values))])
    assert found.padded_mean == pytest.approx(padded.mean(), abs=1e-4)
    assert found.padded_std == pytest.approx(padded.std(), abs=1e-4)
    assert found.padding == pytest.approx(1 - len(values) / len(padded))
    assert (found.clips, found.silent) == (4, 1)
    assert [path for path, _ in found.broken] == [str(folder / 'e.mp4'), str(folder / 'gone.mp4')]


def test_merging_is_exact_where_sums_of_squares_are_not():
    rng = np.random.default_rng(0)
    # A large mean over a small spread: the mean of the squares less the square of the mean would be off by a half.
    parts = [1e8 + rng.standard_normal(n) for n in (3, 1000, 17)]
    stats = [ClipStats(len(p), p.mean(), np.square(p - p.mean()).sum()) for p in parts]
    whole = np.concatenate(parts)
    assert merge(stats) == (pytest.approx(whole.mean(), rel=1e-15), pytest.approx(whole.std(), rel=1e-7))
    assert merge(stats) == merge(stats[::-1])


def test_nothing_to_measure(folder):
    (folder / 'train.csv').write_text('path,label\nd.mp4,0\n')
    data = AVDataset('train.csv', [], data_root=str(folder), classes=['x'])
    with pytest.raises(ConfigError, match='none of the 1 clips'):
        measure(data, *front_end(PIPELINE), jobs=1)


def test_a_clip_that_kills_its_process_is_broken_not_silent(folder, monkeypatch):
    true_transform = LoadClip.transform

    def harmful(self, results):
        if results['path'].endswith('a.mp4'):
            os.kill(os.getpid(), signal.SIGSEGV)
        return true_transform(self, results)

    monkeypatch.setattr(LoadClip, 'transform', harmful)
    (folder / 'train.csv').write_text('path,label\na.mp4,0\nb.mp4,0\nd.mp4,0\n')
    data = AVDataset('train.csv', [], data_root=str(folder), classes=['x'])
    found = measure(data, *front_end(PIPELINE), jobs=1)
    assert found.broken == ((str(folder / 'a.mp4'), 'reading it kills the process (SIGSEGV)'),)
    assert (found.clips, found.silent) == (1, 1)


def test_the_kind_of_error_tells_silent_from_broken_not_its_words(folder, monkeypatch):
    errors = {'a.mp4': AbsentError('a.mp4', 'nothing to hear'), 'b.mp4': MediaError('b.mp4', 'has no audio any more')}

    def fail(self, results):
        raise errors[os.path.basename(results['path'])]

    monkeypatch.setattr(LoadClip, 'transform', fail)
    load, mel = front_end(PIPELINE)
    assert clip_stats(load, mel, ('a.mp4', None, None)) is None
    assert clip_stats(load, mel, ('b.mp4', None, None)) == 'has no audio any more'


def test_front_end_is_not_random():
    load, mel = front_end(PIPELINE)
    assert (load.mode, load.num_views, load.window, mel.num_bins) == ('uniform', 1, 1.5, 32)
    with pytest.raises(
        ConfigError, match='the pipeline has no Spectrogram such as LogMel, only LoadClip, PackAVInputs'
    ):
        front_end([PIPELINE[0], PIPELINE[2]])


def test_joined_datasets_need_one_front_end():
    assert common_front_end([PIPELINE, PIPELINE])[1].num_bins == 32
    other = [PIPELINE[0], dict(PIPELINE[1], num_mel_bins=64), PIPELINE[2]]
    with pytest.raises(ConfigError, match='different audio front ends'):
        common_front_end([PIPELINE, other])
