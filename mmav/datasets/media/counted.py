"""Streams of frames without a container: when each is heard or seen follows from how long those before it last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

# Formats of nothing but frames of sound, which say how long they last; of MP3 there may be a frame that tells of all.
_FORMATS = ('mp3', 'aac', 'ac3', 'eac3')
_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_MPEG_RATES = (44100, 48000, 32000)
_AC3_RATES = (48000, 44100, 32000)
# FFmpeg takes every frame to be as long as the first; so many seconds apart the two counts differ.
APART = 0.05


def is_counted(form: av.ContainerFormat) -> bool:
    """Whether files of a format hold frames of sound that say how long they last, and nothing else."""
    return form.name in _FORMATS


def frame_seconds(head: bytes) -> float | None:
    """Seconds that a frame of raw sound lasts by its first bytes; None where they are no header that is known.

    MPEG audio (ISO 11172-3, 2.4.2.3), AAC in ADTS (ISO 14496-3, 1.A.2.2), AC-3 and E-AC-3 (ETSI TS 102 366, 4.3,
    E.1.2).

    >>> frame_seconds(bytes.fromhex('fffb9064')), frame_seconds(bytes.fromhex('fff15080000000'))
    (0.026122448979591838, 0.023219954648526078)
    """
    if len(head) >= 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        rate = head[2] >> 2 & 15
        return ((head[6] & 3) + 1) * 1024 / _ADTS_RATES[rate] if rate < len(_ADTS_RATES) else None
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
        if version == 1 or rate == 3:
            return None
        samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
        return samples * {3: 1, 2: 2, 0: 4}[version] / _MPEG_RATES[rate]
    if len(head) >= 6 and head[:2] == b'\x0b\x77':
        code, blocks = head[4] >> 6, head[4] >> 4 & 3
        if head[5] >> 3 <= 10:
            return 1536 / _AC3_RATES[code] if code < 3 else None
        if head[2] >> 6 == 1:  # further channels of the frame before
            return 0.0
        if code == 3:
            return 2 * 1536 / _AC3_RATES[blocks] if blocks < 3 else None
        return 256 * (1, 2, 3, 6)[blocks] / _AC3_RATES[code]
    return None


class Counter:
    """Dates the packets of a file that is read from its start.

    Args:
        stream: Its track.

    Attributes:
        uneven: The frames were found to differ in length, so that FFmpeg's time stamps, and its search, are wrong.
    """

    def __init__(self, stream: Any) -> None:
        self.uneven = False
        self._stream = stream
        self._heard = is_counted(stream.container.format)

    def count(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """Gives each packet its time, where FFmpeg gives none, or a wrong one."""
        base = float(self._stream.time_base)
        place = 0.0  # ticks
        for packet in packets:
            if self._heard:
                seconds = frame_seconds(bytes(memoryview(packet)[:7]))
                length = (packet.duration or 0) if seconds is None else seconds / base
                self.uneven |= packet.pts is not None and abs(packet.pts - place) * base > APART
                if self.uneven:
                    packet.pts = packet.dts = round(place)
                    packet.duration = round(length)
            elif packet.pts is None and packet.dts is None:
                length = packet.duration or 1 / (float(self._stream.guessed_rate or 25) * base)
                packet.pts = packet.dts = round(place)
            else:
                length = 0.0
            place += length
            yield packet
