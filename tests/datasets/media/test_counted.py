import av
import pytest

from mmav.datasets.media.counted import frame_seconds
from tests.clips import make_clip


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
