"""The sound of one file into another: copied in its codec where the container takes it, else as AAC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
import numpy as np

from mmav.errors import MediaError

from .channels import as_float, downmixed, mono_frame
from .pyav_reader import PyAVReader
from .transcode import SOUND_FRAME, pieces
from .waveform import GAP

# Codecs that players expect in a container; FFmpeg would write others, too.
COPIED = {
    'mp4': ('aac', 'mp3', 'ac3', 'eac3', 'alac', 'opus', 'flac'),
    'mov': ('aac', 'mp3', 'ac3', 'eac3', 'alac', 'pcm_s16le', 'pcm_s24le', 'pcm_mulaw', 'pcm_alaw'),
    'matroska': ('aac', 'mp3', 'mp2', 'ac3', 'eac3', 'alac', 'opus', 'vorbis', 'flac', 'dts', 'pcm_s16le', 'pcm_s24le'),
}
# FFmpeg writes no MP3 of a lower rate into mp4.
LOWEST_MP3_RATE = 16000
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_LAYOUTS = ('mono', 'stereo', '3.0', '4.0', '5.0', '5.1')
AAC_BITS_PER_CHANNEL = 96000
# Seconds before the start of a part, from which decoders get ready; an edit list hides them.
LEAD = 0.1
TICKS = Fraction(1, 1_000_000)

# Time in seconds up to which there is sound, and PyAV's packets.
_Packets = tuple[float, list[Any]]


def copies_sound(form: str, codec: str, sample_rate: int) -> bool:
    """Whether a container, by FFmpeg's name, is given sound of a codec as it is.

    >>> copies_sound('mp4', 'aac', 44100), copies_sound('mp4', 'vorbis', 44100)
    (True, False)
    """
    too_low = codec == 'mp3' and form != 'matroska' and sample_rate < LOWEST_MP3_RATE
    return codec in COPIED[form] and sample_rate > 0 and not too_low


class SoundTrack:
    """The sound of a file that is written, from a part of another that begins at its time zero.

    A track that holds nothing in the part is left out.

    Args:
        container: The file that is written.
        reader: The other; nothing else may read from it.
        start: Start of the part in seconds.
        end: Its end; infinity for all that there is, be it longer than the picture.
    """

    def __init__(
        self, container: av.container.OutputContainer, reader: PyAVReader, *, start: float = 0.0, end: float = math.inf
    ) -> None:
        self._container, self._reader, self._start, self._end = container, reader, start, end
        form = container.format.name
        copied = copies_sound(form, reader.sound_stream.codec.canonical_name, reader.info.sample_rate)
        # Matroska has no edit list to hide what is before the start.
        source = self._copied(0.0 if form == 'matroska' else LEAD) if copied else self._encoded()
        # All tracks must be known before the first packet is written.
        self._source = chain([first] if (first := next(source, None)) else [], source)
        self._time = -math.inf

    def write_until(self, time: float) -> None:
        """Writes the sound up to a time in seconds from the start of the part; infinity for the rest."""
        while self._time < time:
            self._time, packets = next(self._source, (math.inf, []))
            # A damaged packet whose header cannot be rewritten is left out; a full disk is another error.
            with suppress(av.error.InvalidDataError, av.error.ArgumentError):
                self._container.mux(packets)

    def _spans(self) -> Iterator[tuple[float, float]]:
        position = self._start
        for position, stop in pieces(self._reader, self._start, self._end):
            yield position, stop
            position = stop
        if position < self._end and self._reader.info.has_video:
            # What is heard after the last picture; a span that holds none of it would hold no sound either.
            position = max(0.0, min(position, self._reader.info.duration) - 1e-3)
            self._reader.fetch(position, self._end)
            yield position, self._end

    def _copied(self, lead: float) -> Iterator[_Packets]:
        stream: Any = None
        last = -math.inf
        for start, end in self._spans():
            for time, packet in self._reader.iter_sound_packets(start, end, lead=lead * (start == self._start)):
                if time <= last:
                    continue
                last = time
                stream = stream or self._container.add_stream_from_template(self._reader.sound_stream)
                packet.pts = packet.dts = round((time - self._start) / TICKS)
                packet.duration = round((packet.duration or 0) * packet.time_base / TICKS)
                packet.time_base, packet.stream = TICKS, stream
                yield time - self._start, [packet]

    def _encoded(self) -> Iterator[_Packets]:
        stream: Any = None
        written = 0
        for place, wave, rate, layout in self._waves():
            if stream is None:
                stream = cast(Any, self._container.add_stream('aac', rate=rate, layout=layout))
                stream.bit_rate = len(wave) * min(AAC_BITS_PER_CHANNEL, 4 * rate)
            gap = place - written
            if gap > 0:
                wave = np.pad(wave, ((0, 0), (gap, 0)))
            wave = wave[:, max(0, -gap) :]
            if self._end < math.inf:
                wave = wave[:, : max(0, round((self._end - self._start) * rate) - written)]
            for first in range(0, wave.shape[1], SOUND_FRAME):
                piece = np.ascontiguousarray(wave[:, first : first + SOUND_FRAME])
                frame = av.AudioFrame.from_ndarray(piece, format='fltp', layout=layout)
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), written
                written += piece.shape[1]
                yield written / rate, stream.encode(frame)
        if stream is not None:
            yield written / rate, stream.encode(None)

    def _waves(self) -> Iterator[tuple[int, np.ndarray, int, str]]:
        """Sound as AAC takes it: sample at which it belongs, wave (C, S) float32, rate and layout."""
        form: tuple[int, str, str] | None = None
        rate, layout = 0, ''
        resampler: Any = None
        whole = True
        expected, place = -math.inf, 0
        for time, frame in self._frames():
            new_form = (frame.sample_rate, frame.layout.name, frame.format.name)
            if resampler is None or form != new_form or abs(time - expected) > GAP:
                if resampler is not None:
                    yield from self._resampled(resampler, None, place, rate, layout)
                if not rate:
                    rate, layout = _aac_rate(frame.sample_rate), _aac_layout(frame, self._reader.channel_names)
                whole = downmixed(frame, layout, self._reader.channel_names) is frame
                # Mixed to whole numbers, FFmpeg scales its matrix so that nothing can clip; to floats it does not.
                mixed = frame.layout.nb_channels > av.AudioLayout(layout).nb_channels
                resampler = av.AudioResampler(format='s16p' if mixed else 'fltp', layout=layout, rate=rate)
                form, expected, place = new_form, time, round((time - self._start) * rate)
            # Counted from the start of the run, so that rounded time stamps do not add up.
            expected += frame.samples / frame.sample_rate
            frame = frame if whole else mono_frame(frame, self._reader.channel_names)
            frame.pts = None
            for part in self._resampled(resampler, frame, place, rate, layout):
                place += part[1].shape[1]
                yield part
        if resampler is not None:
            yield from self._resampled(resampler, None, place, rate, layout)

    @staticmethod
    def _resampled(
        resampler: Any, frame: av.AudioFrame | None, place: int, rate: int, layout: str
    ) -> Iterator[tuple[int, np.ndarray, int, str]]:
        for part in resampler.resample(frame):
            wave = as_float(part.to_ndarray())
            yield place, wave, rate, layout
            place += wave.shape[1]

    def _frames(self) -> Iterator[tuple[float, av.AudioFrame]]:
        last = -math.inf
        for start, end in self._spans():
            # Spans share the frame at their border; within one, frames may be shorter than time stamps are exact (40
            # samples of TrueHD).
            known = last + GAP / 10
            # A piece of which nothing can be decoded is silent.
            with suppress(MediaError):
                for time, frame in self._reader.iter_sound(start, end):
                    if time > known:
                        known, last = -math.inf, time
                        yield time, frame


def _aac_rate(rate: int) -> int:
    return next((known for known in AAC_RATES if known >= rate), 48000)


def _aac_layout(frame: av.AudioFrame, names: Sequence[str]) -> str:
    name = frame.layout.name.removesuffix('(side)')
    if name in AAC_LAYOUTS:
        return name
    stereo = frame.layout.nb_channels > 1 and downmixed(frame, 'stereo', names) is frame
    return 'stereo' if stereo else 'mono'
