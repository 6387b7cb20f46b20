import struct

import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.wav_header import leaves_sound_out

RATE = 16000
LIST = b'LIST' + struct.pack('<I', 20) + b'INFOICMT' + struct.pack('<I', 8) + b'recorded'


def wav(path, *, declared=None, behind=b'', seconds=3.0):
    """16-bit mono sound; ``declared`` seconds of it by the header."""
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(round(RATE * seconds)) / RATE)).astype('<i2').tobytes()
    size = len(wave) if declared is None else round(2 * RATE * declared)
    form = b'fmt ' + struct.pack('<IHHIIHH', 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b'WAVE' + form + b'data' + struct.pack('<I', size) + wave + behind
    path.write_bytes(b'RIFF' + struct.pack('<I', len(body)) + body)
    return path


@pytest.mark.parametrize('declared', [0.1, 1.5, 2.8])
def test_sound_that_the_header_leaves_out_is_read(tmp_path, declared):
    """FFmpeg's own answer is the declared length, unless it is told to ignore it."""
    path = wav(tmp_path / 'a.wav', declared=declared)
    assert leaves_sound_out(str(path))
    for _ in range(2):  # the length is remembered the second time
        with open_media(str(path)) as reader:
            assert reader.info.duration == pytest.approx(3.0, abs=0.01)
            sound = reader.read_audio(0.0, 3.0, RATE)
        assert np.abs(sound[-RATE // 2 :]).max() > 0.2


@pytest.mark.parametrize('behind', [b'', LIST, LIST * 400, b'\0' * 100])
def test_what_follows_whole_sound_is_none(tmp_path, behind):
    path = wav(tmp_path / 'a.wav', behind=behind)
    assert not leaves_sound_out(str(path))
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(3.0, abs=0.01)


def test_other_files(tmp_path, clip):
    assert not leaves_sound_out(str(clip))
    for content in (b'', b'RIFF', b'RIFF\0\0\0\0WAVE', b'RIFF\0\0\0\0WAVEfmt \1\0\0\0', b'RIFF\0\0\0\0WAVEdata'):
        (tmp_path / 'a.wav').write_bytes(content)
        assert not leaves_sound_out(str(tmp_path / 'a.wav'))
