from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmav.datasets.media import ArrayReader
from mmav.datasets.media.array_file import read_array_file
from mmav.errors import MediaError, MissingMediaError

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
WAVE = np.sin(np.arange(4000) / 20).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / 'frames.npy', FRAMES)
    np.save(tmp_path / 'wave.npy', WAVE)
    np.savez(tmp_path / 'both.npz', video=FRAMES, fps=3, audio=WAVE, sample_rate=8000)
    save_file(dict(video=FRAMES, fps=np.array([3.0]), audio=WAVE), tmp_path / 'both.safetensors')
    return tmp_path


@pytest.mark.parametrize(('name', 'rate'), [('frames.npy', 3.0), ('both.npz', None), ('both.safetensors', None)])
def test_frames(folder, name, rate):
    reader, expected = read_array_file(str(folder / name), 'video', rate), ArrayReader(FRAMES, 3.0)
    np.testing.assert_array_equal(reader.read_frames([0.3, 1.2])[0], expected.read_frames([0.3, 1.2])[0])
    assert reader.info.duration == 2.0 and not reader.info.has_audio and reader.info.path == str(folder / name)


@pytest.mark.parametrize(('name', 'rate'), [('wave.npy', 8000.0), ('both.npz', None), ('both.safetensors', 8000.0)])
def test_samples(folder, name, rate):
    reader = read_array_file(str(folder / name), 'audio', rate)
    np.testing.assert_array_equal(reader.read_audio(0.0, 0.5, 8000), WAVE)
    assert reader.info.sample_rate == 8000 and not reader.info.has_video
    assert read_array_file(str(folder / name), 'audio', 4000.0).info.duration == 1.0


def test_files_that_are_no_arrays(folder):
    for name, kind, message in (
        ('frames.npy', 'video', 'video needs its fps: give it in a column fps of the manifest'),
        ('both.safetensors', 'audio', 'audio needs its sample_rate: give it in a column sample_rate'),
        ('wave.npy', 'video', r'video must be frames \(T, H, W, 3\) uint8 RGB'),
        ('text.npz', 'video', 'is not a file of arrays: '),
        ('text.npy', 'video', 'is not a file of arrays: '),
        ('text.safetensors', 'video', 'is not a file of arrays: '),
        ('objects.npy', 'video', 'is not a file of arrays: '),
        ('other.npz', 'audio', "has no array 'audio', only 'x', 'video'"),
    ):
        for suffix in ('npz', 'npy', 'safetensors'):
            (folder / f'text.{suffix}').write_text('text')
        np.save(folder / 'objects.npy', np.array([{}], dtype=object))
        np.savez(folder / 'other.npz', x=WAVE, video=FRAMES)
        rate = 3.0 if name == 'wave.npy' else None
        with pytest.raises(MediaError, match=message):
            read_array_file(str(folder / name), kind, rate)
    for suffix in ('npz', 'npy', 'safetensors'):
        with pytest.raises(MissingMediaError):
            read_array_file(str(folder / f'none.{suffix}'), 'video', 3.0)
