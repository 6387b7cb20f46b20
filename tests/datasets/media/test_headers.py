"""What is read from the bytes of files, against what was written into them and what FFmpeg decodes."""

from __future__ import annotations

import struct

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media
from mmav.datasets.media.headers import auxiliary_ids, frame_seconds, is_animated_webp, leaves_audio_out
from tests import remux
from tests.clips import make_clip

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
    assert leaves_audio_out(str(path))
    for _ in range(2):  # the length is remembered the second time
        with open_media(str(path)) as reader:
            assert reader.info.duration == pytest.approx(3.0, abs=0.01)
            sound = reader.read_audio(0.0, 3.0, RATE)
        assert np.abs(sound[-RATE // 2 :]).max() > 0.2


@pytest.mark.parametrize('behind', [b'', LIST, LIST * 400, b'\0' * 100])
def test_what_follows_whole_sound_is_none(tmp_path, behind):
    path = wav(tmp_path / 'a.wav', behind=behind)
    assert not leaves_audio_out(str(path))
    with open_media(str(path)) as reader:
        assert reader.info.duration == pytest.approx(3.0, abs=0.01)


def test_other_files(tmp_path, clip):
    assert not leaves_audio_out(str(clip))
    for content in (b'', b'RIFF', b'RIFF\0\0\0\0WAVE', b'RIFF\0\0\0\0WAVEfmt \1\0\0\0', b'RIFF\0\0\0\0WAVEdata'):
        (tmp_path / 'a.wav').write_bytes(content)
        assert not leaves_audio_out(str(tmp_path / 'a.wav'))


@pytest.mark.parametrize(
    ('name', 'encoder', 'rate'),
    [
        *[('a.aac', 'aac', rate) for rate in (8000, 22050, 44100, 96000)],
        *[('a.mp3', 'libmp3lame', rate) for rate in (8000, 16000, 22050, 44100, 48000)],
        *[('a.mp2', 'mp2', rate) for rate in (16000, 32000, 44100)],
        *[('a.ac3', 'ac3', rate) for rate in (32000, 48000)],
        *[('a.eac3', 'eac3', rate) for rate in (44100, 48000)],
    ],
)
def test_a_frame_lasts_as_long_as_what_is_decoded_of_it(tmp_path, name, encoder, rate):
    path = make_clip(tmp_path / name, seconds=0.5, video=None, audio=encoder, sample_rate=rate)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        (samples,) = {frame.samples for packet in packets[2:-1] for frame in packet.decode()}
    for packet in packets[2:-1]:
        assert frame_seconds(bytes(packet)[:7]) == pytest.approx(samples / rate)


@pytest.mark.parametrize(
    'head', [b'', b'\xff', b'RIFF\0\0\0', b'\xff\xf1\xfc\0\0\0\0', b'\xff\xfb\x0c\0', b'\x0b\x77\0\0\xff\x80']
)
def test_what_is_no_header(head):
    assert frame_seconds(head) is None


def test_auxiliary_tracks_of_an_mp4_file(clip, tmp_path):
    assert auxiliary_ids(str(clip)) == set()
    path = tmp_path / 'auxiliary.mp4'
    path.write_bytes(clip.read_bytes())
    with av.open(str(remux.make_auxiliary(path))) as container:
        assert auxiliary_ids(str(path)) == {container.streams.video[0].id}


def test_other_files_are_no_animations(clip, tmp_path):
    (tmp_path / 'short.webp').write_bytes(b'RIFF')
    assert not is_animated_webp(str(clip)) and not is_animated_webp(str(tmp_path / 'short.webp'))
