from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.media.stored_clip import DamagedClip, StoredClip, write_clip

FRAMES = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
WAVE = np.linspace(-1, 1, 40, dtype=np.float32)


@pytest.fixture
def path(tmp_path):
    with write_clip(tmp_path / 'a.clip') as writer:
        for frame in FRAMES:
            writer.add(frame)
        writer.notes.update(heard=[0.1, 0.1 + 0.2], clock=None)
        writer.arrays['wave'] = WAVE
    return tmp_path / 'a.clip'


def test_what_was_written_is_read(path):
    clip = StoredClip(path)
    np.testing.assert_array_equal(clip.frames([3, 0, 3, 4]), FRAMES[[3, 0, 3, 4]])
    np.testing.assert_array_equal(clip.arrays['wave'], WAVE)
    assert clip.notes == dict(heard=[0.1, 0.1 + 0.2], clock=None) and clip.size == path.stat().st_size
    clip.close()
    clip.close()


def test_a_clip_without_frames(tmp_path):
    with write_clip(tmp_path / 'b.clip') as writer:
        writer.notes['refused'] = 'it is damaged'
    assert StoredClip(tmp_path / 'b.clip').notes == dict(refused='it is damaged')


def test_a_writing_that_fails_leaves_nothing(tmp_path):
    def write():
        with write_clip(tmp_path / 'b.clip') as writer:
            writer.add(FRAMES[0])
            writer.add(FRAMES[0][:, 1:])

    with pytest.raises(ValueError, match=r'a frame of shape \(6, 7, 3\) after frames of \(6, 8, 3\)'):
        write()
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError):
        StoredClip(tmp_path / 'b.clip')


@pytest.mark.parametrize('keep', [0, 10, -1, -30, -200])
def test_a_file_cut_short_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedClip):
        StoredClip(path)


def test_every_byte_is_under_a_checksum(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedClip):
            StoredClip(path).frames(range(5))
