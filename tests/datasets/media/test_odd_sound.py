"""Sound of kinds whose time stamps FFmpeg gets wrong, or that few files have: whole, in place, in any span."""

from __future__ import annotations

import av
import numpy as np
import pytest

from mmav.datasets.media import open_media

EVENTS = (0.5, 1.3, 2.0, 2.6)
AVI = dict(video='mpeg4', b_frames=0)
# Name, whose suffix chooses the container, and options of make_clip.
KINDS = {
    # FFmpeg counts a chunk of AVI that is longer than a block as several.
    'aac_8k.avi': dict(AVI, audio='aac', sample_rate=8000),
    'eac3.avi': dict(AVI, audio='eac3', sample_rate=48000, channels=2),
    'vorbis.avi': dict(AVI, audio='vorbis', sample_rate=48000, channels=2),
    'amr.avi': dict(AVI, audio='libopencore_amrnb', sample_rate=8000),
    # It does not know how long a packet of these is.
    'wma.avi': dict(AVI, audio='wmav2', sample_rate=44100, bit_rate=64000),
    # Its clock stands still.
    'real.rm': dict(video='rv10', size=(96, 128), audio='real_144', sample_rate=8000, b_frames=0, numbered=True),
    # Packets of a second.
    'wavpack.mkv': dict(audio='wavpack', sample_rate=8000),
    'tta.mkv': dict(audio='tta', sample_rate=16000),
    'flac_8k.mkv': dict(audio='flac', sample_rate=8000),
    # FFmpeg before 6 reads it as samples of 16 bits: noise.
    'lpcm_24.mp4': dict(audio='pcm_s24le', sample_rate=48000),
    'amr.3gp': dict(audio='libopencore_amrnb', sample_rate=8000),
    'lpcm.mpg': dict(video='mpeg2video', fps=25, audio='pcm_dvd', sample_rate=48000, channels=2),
    'wma.wmv': dict(video='wmv2', audio='wmav2', sample_rate=22050, bit_rate=32000),
    'speech.wmv': dict(video='msmpeg4', audio='libmp3lame', sample_rate=8000),
}
RATE = 16000


def decoded(path):
    """The sound as FFmpeg decodes it from first to last, one frame behind the other."""
    resampler = av.AudioResampler(format='fltp', layout='mono', rate=RATE)
    parts = []
    with av.open(str(path)) as container:
        for frame in [*container.decode(container.streams.audio[0]), None]:
            if frame is not None:
                frame.pts = None
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.concatenate(parts)


def match(wave, whole):
    """Largest correlation of a wave with a part of another, and the seconds at which that part begins."""
    size = len(wave) + len(whole)
    product = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(wave, size)), size)
    lag = int(np.argmax(product))
    lag = lag - size if lag > size // 2 else lag
    part = np.pad(whole, (len(wave), len(wave)))[lag + len(wave) :][: len(wave)]
    return float(part @ wave / np.sqrt((part @ part) * (wave @ wave))), lag / RATE


@pytest.mark.parametrize('name', KINDS)
def test_whole_and_in_place(make_clip, name):
    path = make_clip(f'odd_{name}', **{**dict(seconds=3.0, events=EVENTS, keyframes=12), **KINDS[name]})
    whole = decoded(path)
    with open_media(str(path)) as reader:
        end = min(3.0, reader.fetch(0.0, 3.0)[1])
        wave = reader.read_audio(0.0, end, RATE)
        likeness, start = match(wave, whole)
        # An encoder's delay before the first sample is not heard, or is where the container does not tell.
        assert likeness > 0.98 and abs(start) < 0.15, (likeness, start)
        reader.fetch(1.2, 2.2)
        likeness, later = match(reader.read_audio(1.2, 2.2, RATE), whole)
        assert likeness > 0.97
        # Plain samples of a program stream are up to one frame of their encoder older than their time stamps.
        assert later - start == pytest.approx(1.2, abs=0.022 if name == 'lpcm.mpg' else 0.002)


def test_stamps_that_waver(make_clip, clip_dir):
    options = dict(seconds=3.0, events=EVENTS, audio='libopencore_amrnb', sample_rate=8000)
    source, path = make_clip('to_waver.3gp', **options), clip_dir / 'wavering.3gp'
    draw = np.random.default_rng(0).uniform(0.0, 0.019, 1000)
    with av.open(str(source)) as read, av.open(str(path), 'w') as write:
        copies = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
        for k, packet in enumerate(packet for packet in read.demux() if packet.dts is not None):
            if packet.stream.type == 'audio':
                packet.pts = packet.dts = packet.pts + round(draw[k] / packet.time_base)
            packet.stream = copies[packet.stream_index]
            write.mux(packet)
    with open_media(str(path)) as reader:
        wave = reader.read_audio(0.0, reader.fetch(0.0, 3.0)[1], RATE)
    assert match(wave, decoded(source))[0] > 0.98
