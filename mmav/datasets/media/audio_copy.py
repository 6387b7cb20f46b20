"""Transfers the audio of one file to another: copied if the container supports its codec, else encoded as AAC."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np

from mmav.datasets.media.audio import GAP, as_float, channel_names, frame_of, mark_runs, mono_samples
from mmav.datasets.media.streaming import StreamReader
from mmav.datasets.media.transcode import AUDIO_FRAME, AudioPackets, AudioTrack
from mmav.errors import MediaError

# Codecs that players expect in a container; FFmpeg would write others, too.
COPIED = {
    'mp4': ('aac', 'mp3', 'ac3', 'eac3', 'alac', 'opus', 'flac'),
    'mov': ('aac', 'mp3', 'ac3', 'eac3', 'alac', 'pcm_s16le', 'pcm_s24le', 'pcm_mulaw', 'pcm_alaw'),
    'matroska': ('aac', 'mp3', 'mp2', 'ac3', 'eac3', 'alac', 'opus', 'vorbis', 'flac', 'dts', 'pcm_s16le', 'pcm_s24le'),
}
# FFmpeg cannot write MP3 with a lower sample rate into mp4.
LOWEST_MP3_RATE = 16000
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_LAYOUTS = ('mono', 'stereo', '3.0', '4.0', '5.0', '5.1')
AAC_BITS_PER_CHANNEL = 96000
# Seconds before the start of a part that warm up decoders; an edit list hides them.
LEAD = 0.1
TICKS = Fraction(1, 1_000_000)


def copies_audio(form: str, codec: str, sample_rate: int) -> bool:
    """Whether audio of a codec is copied unchanged into a container, given by FFmpeg's name.

    >>> copies_audio('mp4', 'aac', 44100), copies_audio('mp4', 'vorbis', 44100)
    (True, False)
    """
    too_low = codec == 'mp3' and form != 'matroska' and sample_rate < LOWEST_MP3_RATE
    return codec in COPIED[form] and sample_rate > 0 and not too_low


class AudioCopy(AudioTrack):
    """The audio track of an output file, taken from a part of another file that becomes time zero.

    The track is left out if it is empty in this part.

    Args:
        container: The output file.
        reader: The other file; nothing else may read from it.
        start: Start of the part in seconds.
        end: End of the part in seconds; infinity for all of the audio, even if it is longer than the video.
    """

    def __init__(
        self,
        container: av.container.OutputContainer,
        reader: StreamReader,
        *,
        start: float = 0.0,
        end: float = math.inf,
    ) -> None:
        self._container, self._reader, self._start, self._end = container, reader, start, end
        form = container.format.name
        copied = copies_audio(form, reader.audio_stream.codec.canonical_name, reader.info.sample_rate)
        # Matroska has no edit list to hide what comes before the start.
        super().__init__(container, self._copied(0.0 if form == 'matroska' else LEAD) if copied else self._encoded())

    def _spans(self) -> Iterator[tuple[float, float]]:
        position = self._start
        for position, stop in self._reader.pieces(self._start, self._end):
            yield position, stop
            position = stop
        if position < self._end and self._reader.info.has_video:
            # The audio after the last frame; a span without a frame would hold no audio either.
            position = max(0.0, min(position, self._reader.info.duration) - 1e-3)
            self._reader.fetch(position, self._end)
            yield position, self._end

    def _copied(self, lead: float) -> Iterator[AudioPackets]:
        stream: Any = None
        last = -math.inf
        for start, end in self._spans():
            for time, packet in self._reader.iter_audio_packets(start, end, lead=lead * (start == self._start)):
                if time <= last:
                    continue
                last = time
                stream = stream or self._container.add_stream_from_template(self._reader.audio_stream)
                packet.pts = packet.dts = round((time - self._start) / TICKS)
                packet.duration = round((packet.duration or 0) * packet.time_base / TICKS)
                packet.time_base, packet.stream = TICKS, stream
                yield time - self._start, [packet]

    def _encoded(self) -> Iterator[AudioPackets]:
        stream: Any = None
        written = 0
        for place, wave in self._waves():
            rate = self._rate
            if stream is None:
                stream = cast(Any, self._container.add_stream('aac', rate=rate, layout=self._layout))
                stream.bit_rate = len(wave) * min(AAC_BITS_PER_CHANNEL, 4 * rate)
            gap = place - written
            if gap > 0:
                wave = np.pad(wave, ((0, 0), (gap, 0)))
            wave = wave[:, max(0, -gap) :]
            if self._end < math.inf:
                wave = wave[:, : max(0, round((self._end - self._start) * rate) - written)]
            for first in range(0, wave.shape[1], AUDIO_FRAME):
                piece = np.ascontiguousarray(wave[:, first : first + AUDIO_FRAME])
                frame = av.AudioFrame.from_ndarray(piece, format='fltp', layout=self._layout)
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), written
                written += piece.shape[1]
                yield written / rate, stream.encode(frame)
        if stream is not None:
            yield written / self._rate, stream.encode(None)

    def _waves(self) -> Iterator[tuple[int, np.ndarray]]:
        """Audio for the AAC encoder, at one rate and in one layout: position in samples, waveform (C, S) float32."""
        names = self._reader.channel_names
        resampler: Any = None
        place = 0
        for begins, time, frame in mark_runs(self._frames()):
            if resampler is None:
                self._rate, self._layout = _aac_rate(frame.sample_rate), _aac_layout(frame, names)
            elif begins:
                yield from _placed(resampler.resample(None), place)
            if begins:
                whole = downmixed(frame, self._layout, names) is frame
                # FFmpeg scales its downmix matrix so that integers cannot clip; for floats it does not.
                mixed = frame.layout.nb_channels > av.AudioLayout(self._layout).nb_channels
                form = 's16p' if mixed else 'fltp'
                resampler = av.AudioResampler(format=form, layout=self._layout, rate=self._rate)
                place = round((time - self._start) * self._rate)
            frame = frame if whole else mono_frame(frame, names)
            frame.pts = None
            place = yield from _placed(resampler.resample(frame), place)
        if resampler is not None:
            yield from _placed(resampler.resample(None), place)

    def _frames(self) -> Iterator[tuple[float, av.AudioFrame]]:
        last = -math.inf
        for start, end in self._spans():
            # Spans share the frame at their border; within one, frames may be shorter than time stamps are exact (40
            # samples of TrueHD).
            known = last + GAP / 10
            # A piece that cannot be decoded at all is silent.
            with suppress(MediaError):
                for time, frame in self._reader.iter_audio(start, end):
                    if time > known:
                        known, last = -math.inf, time
                        yield time, frame


def _placed(parts: Iterable[av.AudioFrame], place: int) -> Generator[tuple[int, np.ndarray], None, int]:
    """Yields consecutive waveforms with their positions in samples; returns the position after the last."""
    for part in parts:
        wave = as_float(part.to_ndarray())
        yield place, wave
        place += wave.shape[1]
    return place


def mono_frame(frame: av.AudioFrame, names: Sequence[str] = ()) -> av.AudioFrame:
    """A frame mixed to mono, see :func:`mmav.datasets.media.audio.mono_samples`."""
    return frame_of(mono_samples([frame], names), frame.sample_rate)


def downmixed(frame: av.AudioFrame, layout: str, names: Sequence[str] = ()) -> av.AudioFrame:
    """A frame that FFmpeg can convert to a layout: itself, or mixed to mono if FFmpeg cannot.

    It cannot convert ambisonic audio, many channels without positions, and channels whose names it does not see.

    Args:
        frame: The frame.
        layout: FFmpeg's name of the layout.
        names: Returned by :func:`mmav.datasets.media.audio.settle_layout`.
    """
    if channel_names(frame, names) != channel_names(frame):
        return mono_frame(frame, names)
    trial = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=1)
    trial.sample_rate = frame.sample_rate
    try:
        av.AudioResampler(format='fltp', layout=layout).resample(trial)
    except av.FFmpegError:
        return mono_frame(frame, names)
    return frame


def _aac_rate(rate: int) -> int:
    return next((known for known in AAC_RATES if known >= rate), 48000)


def _aac_layout(frame: av.AudioFrame, names: Sequence[str]) -> str:
    name = frame.layout.name.removesuffix('(side)')
    if name in AAC_LAYOUTS:
        return name
    stereo = frame.layout.nb_channels > 1 and downmixed(frame, 'stereo', names) is frame
    return 'stereo' if stereo else 'mono'
