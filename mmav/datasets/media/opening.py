"""Opens media files: limits on what reading may cost, known formats only, and the choice of tracks.

To FFmpeg a path is more than a file name: ``12:30.mp4`` begins with a protocol, ``%d.png`` names many files, and a file
may be a playlist or a script that refers to other files, on this machine or another, which are then read instead. So
this module is the only place where files are opened for reading.
"""

from __future__ import annotations

import io
import math
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import av
from av.stream import Disposition

from mmav.datasets.media.headers import auxiliary_ids, is_animated_webp, leaves_audio_out
from mmav.datasets.media.stored_file import StoredFile, load_file
from mmav.errors import MediaError, MissingMediaError

PREFIX = 'file:'
# FFmpeg's demuxers for formats that hold video or audio in a single file and are recognised by their content. This
# excludes playlists and scripts (hls, dash, concat, imf, sdp), numbered images (image2), text of any kind, even
# rendered as images (tty, xbin), raw samples recognised by the suffix only, and devices.
_FORMATS = """
    mov mp4 m4a 3gp 3g2 mj2 matroska webm avi flv live_flv kux asf asf_o mpeg mpegts mpegvideo mpegtsraw ogg rm wtv nut
    nuv nsv mxf gxf mxg dv swf ivf obu av1 h261 h263 h264 hevc vvc evc m4v vc1 vc1test avs2 avs3 cavsvideo dirac
    dnxhd apv mjpeg mpjpeg smjpeg mjpeg_2000 ingenient yuv4mpegpipe gif apng film_cpk flic smk bink roq vmd ipmovie
    4xm thp pva ty lxf r3d mmf vivo ea wc3movie xmv
    wav w64 mp3 flac aac loas ac3 eac3 ac4 dts dtshd truehd mlp aiff caf au amr amrnb amrwb wv ape tta tak mpc mpc8 voc
    xwma oma aea aax qcp shn dsf iff ircam nistsphere sox sds pvf spdif iamf lc3 qoa ilbc codec2 iss wve vqf rso
    xa avr
    jpeg_pipe png_pipe webp_pipe bmp_pipe tiff_pipe gif_pipe j2k_pipe jpegls_pipe jpegxl_pipe jpegxl_anim qoi_pipe
    exr_pipe dpx_pipe hdr_pipe psd_pipe sgi_pipe sunrast_pipe pcx_pipe pgm_pipe ppm_pipe pbm_pipe pam_pipe
"""
FORMATS = ','.join(_FORMATS.split())
# Formats in which each track has its own index.
MOV = 'mov,mp4,m4a,3gp,3g2,mj2'
# No player displays these on their own.
NOT_BY_ITSELF = (
    Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image | Disposition.dependent
)
# The most packets of other tracks before the first one of a track: more than any interleaving needs.
LOOK = 4096


@dataclass(frozen=True)
class Limits:
    """Limits that prevent a broken or malicious file from using up a machine's time and memory.

    They are far above what recordings need. A file that exceeds one is refused, with the name of the limit.

    Attributes:
        pixels: Pixels of one frame, as stored.
        clip_pixels: Pixels of all frames held at once, after scaling; each takes three bytes.
        samples: Audio samples held at once, over all channels; each takes up to four bytes.
        aspect: The largest aspect ratio of a frame that is scaled by its short side.
        seconds: Seconds of processor time for one step: opening the file, collecting the packets of a span, decoding
            its audio, or decoding the requested frames.
        gap: The longest gap in time stamps without any video or audio, in seconds.

    Raises:
        ValueError: A limit is not above 0.

    >>> Limits(pixels=1920 * 1080).pixels
    2073600
    """

    pixels: int = 2**26
    clip_pixels: int = 2**30
    aspect: float = 64.0
    samples: int = 2**30
    seconds: float = 120.0
    gap: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f'limits: {name} must be above 0, got {value}')

    def check_frame(self, path: str, height: int, width: int) -> None:
        """Refuses frames that are too large to decode.

        Raises:
            MediaError: They are too large.
        """
        if height * width > self.pixels:
            raise MediaError(
                path,
                f'its frames have {width} x {height} pixels, more than the {self.pixels:,} allowed; '
                'raise pixels of the limits to read it',
            )

    def check_scaling(self, path: str, size: tuple[int, int], scaled: tuple[int, int], frames: int) -> None:
        """Refuses frames that would not fit into memory.

        Args:
            path: The file.
            size: Height and width as stored.
            scaled: Height and width of the result.
            frames: How many are held.

        Raises:
            MediaError: They do not fit.
        """
        if scaled != size and max(size) > self.aspect * min(size):
            raise MediaError(
                path,
                f'its frames of {size[1]} x {size[0]} pixels are more than {self.aspect:g} times as long as wide, too '
                'narrow to be scaled by their short side; crop them, or raise aspect of the limits',
            )
        if scaled[0] * scaled[1] * frames > self.clip_pixels:
            raise MediaError(
                path,
                f'{frames} frames of {scaled[1]} x {scaled[0]} pixels are more than the {self.clip_pixels:,} pixels '
                'allowed at once; give a smaller short_side or fewer frames, or raise clip_pixels of the limits',
            )

    def check_audio(self, path: str, seconds: float, rate: float) -> None:
        """Refuses audio that would not fit into memory.

        Args:
            path: The file.
            seconds: Duration held at once.
            rate: Samples per second over all channels.

        Raises:
            MediaError: It does not fit.
        """
        if seconds * rate > self.samples:
            raise MediaError(
                path,
                f'{seconds:,.0f} s of its audio are more than the {self.samples:,} samples allowed at once; '
                'read a shorter window, or raise samples of the limits',
            )


class Watch:
    """Keeps the reading of one file within its limits.

    It measures processor time, which does not depend on how busy the machine is.

    Args:
        path: The file.
        limits: The limits; None for the defaults.
        threads: Threads of the decoder; with more than one it measures elapsed time, as other threads do the work.
    """

    def __init__(self, path: str, limits: Limits | None = None, *, threads: int = 1) -> None:
        self.path, self.limits = path, limits or Limits()
        self._clock = time.thread_time if threads == 1 else time.monotonic
        self.begin()
        self.begin_pass()

    def begin(self) -> None:
        """Starts a step."""
        self._end = self._clock() + self.limits.seconds

    def check(self) -> None:
        """Aborts a step that takes too long.

        Raises:
            MediaError: It takes too long.
        """
        if self._clock() > self._end:
            raise _too_slow(self.path, self.limits)

    def begin_pass(self) -> None:
        """Starts a pass over packets."""
        self._newest, self._leaps = -math.inf, 0

    def check_packet(self, packet: av.Packet[Any], seconds: float) -> None:
        """Aborts a pass if time stamps jump ahead over a gap, or if a packet cannot be read.

        A single packet that is too far ahead may be damaged.

        Args:
            packet: A packet.
            seconds: Its presentation time.

        Raises:
            MediaError: Time stamps jump too far, the pass takes too long, or the packet is encrypted: some decoders
                would return frames for it.
        """
        self.check()
        if packet.has_sidedata('encryption_info'):
            raise MediaError(self.path, 'is encrypted (DRM); only a decrypted copy can be read')
        if self._newest > -math.inf and seconds > self._newest + self.limits.gap:
            self._leaps += 1
            if self._leaps > 1:
                raise MediaError(
                    self.path,
                    f'its time stamps jump from {self._newest:.1f} s to {seconds:.1f} s, with nothing between: it is '
                    'broken; rewrite it with correct ones, or raise gap of the limits',
                )
        else:
            self._newest, self._leaps = max(self._newest, seconds), 0


def _too_slow(path: str, limits: Limits) -> MediaError:
    return MediaError(
        path, f'reading it took longer than {limits.seconds:g} s; raise seconds of the limits to allow it'
    )


@contextmanager
def media_errors(path: str, doing: str) -> Iterator[None]:
    """Turns errors of media libraries into a MediaError."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, RuntimeError, IndexError, MemoryError) as error:
        cause = getattr(error, 'strerror', None) or str(error).split('\n')[0] or type(error).__name__
        raise MediaError(path, f'{doing}: {cause}') from error


class _Nameless(io.FileIO):
    """A file read through Python, with a name whose suffix implies no format."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.name = f'{path}.'

    def __del__(self) -> None:
        # PyAV drops a file without closing it.
        self.close()


class _InMemory(io.BytesIO):
    """The bytes of a file, with its name, from whose suffix FFmpeg may infer the format."""

    def __init__(self, file: StoredFile, suffix: str = '') -> None:
        super().__init__(file.read())
        self.name = f'{file}{suffix}'


def open_container(
    path: str, *, limits: Limits | None = None, options: Mapping[str, str] | None = None
) -> av.container.InputContainer:
    """Opens a file.

    Args:
        path: The file, with any name that the system allows, or a StoredFile.
        limits: Limits on what this may cost; None for the defaults.
        options: Options of FFmpeg's demuxer, in addition to those that restrict it to this file.

    Raises:
        MediaError: It is missing, not a regular file, empty, of an unknown format, or broken.
    """
    stored = load_file(path) if isinstance(path, StoredFile) else None
    if stored is None:
        check_file(path)
    path = path if stored is None else stored
    limits = limits or Limits()
    # Bytes in memory need no protocol at all.
    kept = dict(
        format_whitelist=FORMATS, protocol_whitelist='file' if stored is None else 'none', max_pixels=str(limits.pixels)
    )
    # Metadata may be in any encoding; it is not used.
    settings: Any = dict(metadata_errors='replace', options={**(options or {}), **kept}, timeout=limits.seconds)
    misled = (av.error.ArgumentError,) if stored is None else (av.error.ArgumentError, av.error.InvalidDataError)
    with media_errors(path, 'cannot be opened as audio or video'):
        try:
            try:
                container = av.open(file_url(path) if stored is None else _InMemory(stored), **settings)
            except misled:
                # FFmpeg may have inferred the format from the suffix: .jpg means numbered images.
                container = av.open(_Nameless(path) if stored is None else _InMemory(stored, '.'), **settings)
        except av.error.ExitError:
            raise _too_slow(path, limits) from None
        except av.error.ArgumentError as error:
            raise MediaError(
                path,
                'is of no known format that holds its own video or audio; playlists, scripts and text are not opened',
            ) from error
    if container.format.name == 'wav' and 'ignore_length' not in (options or {}) and leaves_audio_out(path):
        container.close()
        return open_container(path, limits=limits, options={**(options or {}), 'ignore_length': '1'})
    if container.format.name == 'webp_pipe' and is_animated_webp(path):
        container.close()
        raise MediaError(path, 'is an animated WebP, which cannot be decoded; convert it to mp4 or gif')
    return container


def file_url(path: str) -> str:
    """A URL that FFmpeg treats as a file with exactly this name, for reading and writing."""
    return PREFIX + path


def check_file(path: str) -> None:
    """Refuses anything but a non-empty regular file.

    Raises:
        MediaError: It is not one; a MissingMediaError if it is missing.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise MissingMediaError(path) from None
    except (OSError, ValueError) as error:
        raise MediaError(path, f'cannot be reached: {getattr(error, "strerror", None) or error}') from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, 'is a folder, not a file')
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, 'is not a regular file')
    if status.st_size == 0:
        raise MediaError(path, 'is an empty file (0 bytes)')


def choose_track(
    container: av.container.InputContainer, watch: Watch, kind: Literal['video', 'audio'], *, related: Any = None
) -> Any:
    """Chooses the track that a player would choose.

    Ignores cover art, thumbnails and tracks that belong to another track. Among several, only tracks with packets and a
    decoder are considered.

    Args:
        container: The open file; its position is not changed.
        watch: The file's path and what reading it may cost.
        kind: 'video' or 'audio'.
        related: A track; in a file with several programs, a track of the same program is chosen.

    Returns:
        PyAV's stream, or None.

    Raises:
        MediaError: There are such tracks, but none has a decoder.
    """
    best = container.streams.best(kind, related=related)
    others = _auxiliary_tracks(watch.path, container)
    tracks = [stream for stream in container.streams if stream.type == kind and stream.index not in others]
    if not tracks:
        return None
    # FFmpeg's choice first: it goes by dispositions, then by what it has seen of each track.
    tracks.sort(key=lambda stream: best is None or stream.index != best.index)
    decodable = [stream for stream in tracks if stream.codec_context is not None]
    if not decodable:
        raise MediaError(watch.path, f'no decoder for its {kind} track')
    chosen: Any = decodable[0] if len(decodable) == 1 else _first_with_packets(watch, decodable)
    if kind == 'audio' and not chosen.codec_context.sample_rate:
        learn_parameters(watch, chosen)
    return chosen


def _auxiliary_tracks(path: str, container: av.container.InputContainer) -> set[int]:
    """Indices of tracks that belong to another track or represent it."""
    found = {stream.index for stream in container.streams if stream.disposition & NOT_BY_ITSELF}
    videos = [stream for stream in container.streams.video if stream.index not in found]
    if len(videos) > 1 and container.format.name == MOV:
        # FFmpeg treats them like any other video.
        ids = auxiliary_ids(path)
        found |= {stream.index for stream in videos if stream.id in ids}
    videos = [stream for stream in videos if stream.index not in found]
    if any(stream.frames > 1 for stream in videos):
        # single images next to a video
        found |= {stream.index for stream in videos if stream.frames == 1}
    return found


def _first_with_packets(watch: Watch, tracks: Sequence[Any]) -> Any:
    """The first track with a packet, or the first of all if none has one."""
    found: set[int] = set()
    with open_container(watch.path, limits=watch.limits) as other:
        for seen, packet in enumerate(_until_damage(other, [other.streams[stream.index] for stream in tracks])):
            if packet.size:
                found.add(packet.stream_index)
            if tracks[0].index in found or seen > LOOK:
                break
    return next((stream for stream in tracks if stream.index in found), tracks[0])


def learn_parameters(watch: Watch, stream: Any) -> None:
    """Decodes the first frame of an audio track if FFmpeg could not determine its rate and channels.

    FFmpeg reads only the first megabytes, and recognises some codecs only at their end.

    Args:
        watch: The file's path and what reading it may cost.
        stream: The track; the position of its container is not changed.
    """
    codec = stream.codec_context
    with open_container(watch.path, limits=watch.limits) as other:
        for packet in _until_damage(other, [other.streams[stream.index]]):
            with suppress(av.FFmpegError):
                if packet.size and codec.decode(packet):
                    break
    codec.flush_buffers()


def _until_damage(container: av.container.InputContainer, streams: Sequence[Any]) -> Iterator[av.Packet[Any]]:
    """The packets of tracks up to the first damage, which is handled when the file is read."""
    packets: Any = container.demux(streams)
    with closing(packets), suppress(av.FFmpegError, IndexError):
        yield from packets
