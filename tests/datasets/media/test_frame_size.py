"""Packets that state another size than their track's header are found, whatever the codec."""

from __future__ import annotations

from types import SimpleNamespace

import av
import numpy as np
import pytest

from mmav.datasets.media.frame_size import may_change

# Encoder, container, and options of make_clip.
CODECS = {
    'h264': ('libx264', 'mp4', {}),
    'hevc': ('libx265', 'mp4', dict(encoder={'x265-params': 'log-level=none:pools=1', 'preset': 'ultrafast'})),
    'vp8': ('libvpx', 'webm', dict(encoder={'deadline': 'realtime', 'cpu-used': '8'})),
    'vp9': ('libvpx-vp9', 'webm', dict(encoder={'cpu-used': '8', 'auto-alt-ref': '1', 'lag-in-frames': '10'})),
    'av1': ('libsvtav1', 'mp4', dict(encoder={'preset': '12', 'svtav1-params': 'lp=1'})),
}
SMALL, LARGE = (64, 64), (128, 192)


def packets_of(make_clip, name, size):
    video, suffix, options = CODECS[name]
    if video not in av.codecs_available:
        pytest.skip(f'no encoder {video} here')
    options = dict(options, video=video, seconds=1.0, fps=12, keyframes=6, size=size, audio=None)
    with av.open(str(make_clip(f'size_of_{name}_{size[0]}.{suffix}', **options))) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        # For a decoder's name: the file itself is closed.
        header = SimpleNamespace(
            name=codec.name, width=codec.width, height=codec.height, extradata=bytes(codec.extradata or b'')
        )
        return SimpleNamespace(codec_context=header), [bytes(p) for p in container.demux(stream) if p.size]


def parameters(header: bytes, name: str) -> bytes:
    """The units that state the size in a track's header, as they stand in a packet."""
    if name == 'h264':
        size = int.from_bytes(header[6:8], 'big')
        unit = header[8 : 8 + size]
    else:
        place = header.index(b'\x42\x01')  # a sequence's parameters
        unit = header[place : place + int.from_bytes(header[place - 2 : place], 'big')]
    return len(unit).to_bytes(4, 'big') + unit


@pytest.mark.parametrize('name', CODECS)
def test_sizes_in_packets(make_clip, name):
    small, packets = packets_of(make_clip, name, SMALL)
    large, others = packets_of(make_clip, name, LARGE)
    assert not may_change(small, packets) and not may_change(large, others)
    if name in ('h264', 'hevc'):
        own, other = (parameters(stream.codec_context.extradata, name) for stream in (small, large))
        assert not may_change(small, [*packets, own + packets[0]])
        assert may_change(small, [*packets, other + others[0]])
        assert may_change(small, [*packets, others[0][:-1]])
    else:
        assert may_change(small, [*packets, *others]) and may_change(large, packets)
    assert may_change(small, [*packets, b''.join([packets[0][:1], b'\xff' * 3])]) or name == 'vp8'


def test_vp9_with_an_explicit_size_between_keyframes(make_clip):
    """As an encoder writes it that scales its references."""
    small, packets = packets_of(make_clip, 'vp9', SMALL)

    def frame(width, height, *, found=0):
        # Marker, profile 0, a frame that refers to others and is shown, references, then whether their size is kept.
        head = '10' + '00' + '0' + '1' + '1' + '0' + '00' + '1' * 8 + '0' * 12
        size = '1' if found else '000' + f'{width - 1:016b}{height - 1:016b}'
        text = head + size
        return int(text.ljust(-(-len(text) // 8) * 8 + 8, '0'), 2).to_bytes(
            len(text.ljust(-(-len(text) // 8) * 8 + 8, '0')) // 8, 'big'
        )

    assert not may_change(small, [*packets, frame(64, 64)])
    assert not may_change(small, [*packets, frame(0, 0, found=1)])
    assert may_change(small, [*packets, frame(4096, 64)])
    # Hidden behind another in one packet.
    inner = frame(64, 64), frame(64, 4096)
    index = bytes([0b11000001, len(inner[0]), len(inner[1]), 0b11000001])
    assert may_change(small, [b''.join(inner) + index])


def test_unknown_codecs_may_do_anything(make_clip):
    small, packets = packets_of(make_clip, 'h264', SMALL)
    small.codec_context.name = 'mpeg4'
    assert may_change(small, packets)


def test_units_without_a_header_may_do_anything(make_clip):
    small, packets = packets_of(make_clip, 'h264', SMALL)
    small.codec_context.extradata = b'\x00\x00\x00\x01' + small.codec_context.extradata[8:]
    assert may_change(small, packets)


def test_noise_is_refused_or_passed_and_nothing_else(make_clip):
    draw = np.random.default_rng(0)
    for name in CODECS:
        small, packets = packets_of(make_clip, name, SMALL)
        for _ in range(200):
            data = bytearray(packets[draw.integers(len(packets))])
            for place in draw.integers(0, min(len(data), 30), 3):
                data[place] = draw.integers(256)
            assert may_change(small, [bytes(data)]) in (True, False)


def grown(make_clip, path):
    """Writes a file whose second half holds frames larger than its header states, and has them decoded so."""
    options = dict(seconds=2.0, fps=12, keyframes=12, audio=None)
    files = [make_clip(f'grows_{size[0]}.mp4', size=size, **options) for size in ((48, 64), (480, 640))]
    with av.open(str(files[0])) as first, av.open(str(files[1])) as second, av.open(str(path), 'w') as out:
        streams = [container.streams.video[0] for container in (first, second)]
        target = out.add_stream_from_template(streams[0])
        units = streams[1].codec_context.extradata
        size = int.from_bytes(units[6:8], 'big')
        picture = units[9 + size :]
        stated = [units[8 : 8 + size], picture[2 : 2 + int.from_bytes(picture[:2], 'big')]]
        stated = b''.join(len(unit).to_bytes(4, 'big') + unit for unit in stated)
        for k, stream in enumerate(streams):
            for packet in [packet for packet in stream.container.demux(stream) if packet.size]:
                copy = av.Packet((stated if k and packet.is_keyframe else b'') + bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.pts += round(2 * k / packet.time_base)
                copy.dts += round(2 * k / packet.time_base)
                copy.is_keyframe, copy.duration, copy.stream = packet.is_keyframe, packet.duration, target
                out.mux(copy)
    return path
