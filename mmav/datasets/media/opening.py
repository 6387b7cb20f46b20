"""The one place where a media file is opened for reading: a local file of a known media format, and nothing else.

FFmpeg takes a path for more than the name of a file: ``12:30.mp4`` begins with a protocol, ``%d.png`` names many files,
and what is in a file may be a playlist or a script that names other files, of this machine or of another, which are
then read in its place.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import av

from mmav.errors import MediaError

from .limits import Limits, too_slow
from .wav_header import leaves_sound_out

PREFIX = 'file:'
# FFmpeg's demuxers of formats that hold picture or sound in one file and are known by their content. Not among them
# are playlists and scripts (hls, dash, concat, imf, sdp), numbered pictures (image2), text of any kind, also what makes
# pictures of it (tty, xbin), raw samples known by a file's suffix only, and devices.
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


class _Nameless(io.FileIO):
    """A file that is read by Python, under a name whose suffix stands for no format."""

    SUFFIX = '.'

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.name = path + self.SUFFIX

    def __del__(self) -> None:
        # PyAV lets go of a file without closing it.
        self.close()


@contextmanager
def media_errors(path: str, doing: str) -> Iterator[None]:
    """Turns what media libraries raise into a MediaError."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, RuntimeError, IndexError, MemoryError) as error:
        cause = getattr(error, 'strerror', None) or str(error).split('\n')[0] or type(error).__name__
        raise MediaError(path, f'{doing}: {cause}') from error


def open_container(
    path: str, *, limits: Limits | None = None, options: Mapping[str, str] | None = None
) -> av.container.InputContainer:
    """Opens a file.

    Args:
        path: The file, by any name that the system takes.
        limits: What this may cost; None for the usual limits.
        options: Options of FFmpeg's demuxer, besides those that keep it to this file.

    Raises:
        MediaError: It is missing, no regular file, empty, of no known format, or broken.
    """
    check_file(path)
    limits = limits or Limits()
    kept = dict(format_whitelist=FORMATS, protocol_whitelist='file', max_pixels=str(limits.pixels))
    # Metadata may be in any encoding; it is not used.
    settings: Any = dict(metadata_errors='replace', options={**(options or {}), **kept}, timeout=limits.seconds)
    with media_errors(path, 'cannot be opened as audio or video'):
        try:
            try:
                container = av.open(file_url(path), **settings)
            except av.error.ArgumentError:
                # Its suffix may have been taken for the format: .jpg stands for numbered pictures.
                container = av.open(_Nameless(path), **settings)
        except av.error.ExitError:
            raise MediaError(path, too_slow(limits.seconds)) from None
        except av.error.ArgumentError as error:
            raise MediaError(
                path,
                'is of no known format that holds its own picture or sound; playlists, scripts and text are not opened',
            ) from error
    if container.format.name == 'wav' and 'ignore_length' not in (options or {}) and leaves_sound_out(path):
        container.close()
        return open_container(path, limits=limits, options={**(options or {}), 'ignore_length': '1'})
    if container.format.name == 'webp_pipe' and _is_animated(path):
        container.close()
        raise MediaError(path, 'is an animated WebP, which cannot be decoded; convert it to mp4 or gif')
    return container


def file_url(path: str) -> str:
    """What FFmpeg takes for a file of this name, whatever the name looks like; for reading and for writing."""
    return PREFIX + path


def path_of(container: Any) -> str:
    """The path of a file that :func:`open_container` opened."""
    name = str(container.name)
    return name.removeprefix(PREFIX) if container.file is None else name[: -len(_Nameless.SUFFIX)]


def check_file(path: str) -> None:
    """Refuses what is no regular file with something in it.

    Raises:
        MediaError: It is none.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise MediaError(path, 'no such file') from None
    except (OSError, ValueError) as error:
        raise MediaError(path, f'cannot be reached: {getattr(error, "strerror", None) or error}') from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, 'is a folder, not a file')
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, 'is not a regular file')
    if status.st_size == 0:
        raise MediaError(path, 'is an empty file (0 bytes)')


def limit_decoder(stream: Any, limits: Limits) -> None:
    """Lets a track's decoder refuse pictures that are too large, also where they grow in mid-stream."""
    stream.codec_context.options = {**stream.codec_context.options, 'max_pixels': str(limits.pixels)}


def _is_animated(path: str) -> bool:
    """Whether a WebP file's extended header, where there is one, says that it holds an animation."""
    with open(path, 'rb') as file:
        head = file.read(21)
    return head[12:16] == b'VP8X' and bool(head[20:] and head[20] & 2)
