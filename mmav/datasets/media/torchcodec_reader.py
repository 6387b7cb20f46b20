"""Reads video with torchcodec, on the CPU or by NVDEC, and audio with PyAV.

torchcodec decodes with the FFmpeg libraries of the system. It takes no limits, opens whatever FFmpeg recognises, and
trusts a file's own clock. So a file is opened by :class:`PyAVReader` first, which finds out what it holds, its true
clock and the packets of a span; torchcodec is then told which frames to decode, by their time stamps, and what comes
back is checked against them.

Audio stays with PyAV: torchcodec leaves out gaps, and a whole clip is hardly read faster (docs/readers.md).
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmav.datasets.media.frame_size import may_change
from mmav.datasets.media.opening import MOV, Limits, file_url
from mmav.datasets.media.reader import PyAVReader
from mmav.datasets.media.stored_file import StoredFile, open_binary
from mmav.datasets.media.torchcodec_library import check_decode_device, load_torchcodec, start_device
from mmav.datasets.media.video import PLANNED_CODECS, TURNED, nearest, orientation_of, scaled_size
from mmav.structures import MODALITIES

# Containers whose clock FFmpeg reads as it is, and how their files begin: no version of FFmpeg takes what begins so for
# a playlist, whose entries torchcodec would open.
MATROSKA = 'matroska,webm'
MATROSKA_HEAD, MOV_HEADS = b'\x1a\x45\xdf\xa3', (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide')
# Formats of frames that FFmpeg's versions turn into the same colours.
SAME_COLOURS = ('yuv420p', 'yuvj420p', 'yuv422p', 'yuvj422p', 'yuv444p', 'yuvj444p')
# So many pixels are decoded within some seconds; then the limit of time is looked at.
PIXELS_AT_ONCE = 2**28
# torchcodec's documentation advises CUDA for videos of a large resolution, without a number. Its benchmark of 1920 x
# 1080 (its pull request 242) decodes and scales in 12 ms by NVDEC and in 134 ms on the CPU. Not measured here.
GPU_PIXELS = 1920 * 1080

_told: set[tuple[str, str]] = set()


class Unfit(Exception):
    """PyAV must decode these frames; the first argument says why, a second one more about this file."""


class TorchCodecReader(PyAVReader):
    """Reads frames with torchcodec.

    They are PyAVReader's, at its times, and equal to the bit in their own size. Scaled ones differ, as torchcodec
    converts to RGB first and scales then: by 1 of 255 on average, and by no more than 40 where it was measured.

    Frames are left to PyAVReader, and the first file of each kind is logged, where torchcodec would be wrong, could
    not be kept within the limits, or was not found equal:

    - all containers but mp4, mov, Matroska and WebM; all codecs but H.264, HEVC, VP8, VP9 and AV1;
    - tracks in which a packet states another size than the header, without marked keyframes, with repeated or missing
      time stamps, or with damage that FFmpeg notices;
    - more than 8 bits, no YUV planes, and frames that are mirrored;
    - headers in which FFmpeg of the system reads another size, rotation or start than PyAV's;
    - whatever torchcodec fails to decode, or answers with other times than the packets'.

    Args:
        path: The file, or a StoredFile, which is loaded into memory.
        threads: Threads of the video decoder.
        limits: Limits on what reading the file may cost; None for the defaults.
        tracks: The modalities to read.
        decode_device: 'cpu'; or 'cuda', to decode large frames by NVDEC. They are scaled on that device and copied to
            main memory; its colours are computed otherwise, and equal the CPU's only roughly.
        gpu_pixels: Frames of fewer pixels, as stored, are decoded by PyAV if the device is not 'cpu'; None for 1920 x
            1080.

    Raises:
        MediaError: The file cannot be opened, has no length, or holds neither video nor audio.
        ConfigError: torchcodec is not installed or cannot be loaded; or there is no CUDA device, or this process cannot
            use it.
    """

    def __init__(
        self,
        path: str,
        *,
        threads: int = 1,
        limits: Limits | None = None,
        tracks: Sequence[str] = MODALITIES,
        decode_device: str = 'cpu',
        gpu_pixels: int | None = None,
    ) -> None:
        self._library = load_torchcodec()
        check_decode_device(decode_device)
        start_device(decode_device)
        self._on_gpu, self._device, self._threads = decode_device != 'cpu', decode_device, threads
        self._gpu_pixels = GPU_PIXELS if gpu_pixels is None else gpu_pixels
        self._turned: float | None = None
        # The GPU's work is not in this thread's time.
        super().__init__(path, threads=max(threads, 2) if self._on_gpu else threads, limits=limits, tracks=tracks)

    def read_frames(
        self, times: Sequence[float] | np.ndarray, *, short_side: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads the displayed frames nearest to the times.

        Raises:
            MediaError: There is no video track, or no frame of it can be decoded.
        """
        if not self._on_gpu or self.info.height * self.info.width >= self._gpu_pixels:
            seconds = np.asarray(times, dtype=np.float64)
            packets, clock = self._packets_of('video', float(seconds.min()), float(seconds.max()))
            try:
                return self._decode(packets, clock, seconds, short_side)
            except Unfit as reason:
                self._tell('not read by torchcodec but by PyAV, as others like it', *reason.args)
        return super().read_frames(times, short_side=short_side)

    def _decode(
        self, packets: Sequence[Any], clock: tuple[float, float], seconds: np.ndarray, short_side: int | None
    ) -> tuple[np.ndarray, np.ndarray]:
        self._check_file()
        shown = self._check_packets(packets)
        size = self.info.height, self.info.width
        scaled = scaled_size(*size, short_side)
        self.limits.check_scaling(self.info.path, size, scaled, len(seconds))
        if self._turned is None:
            self._turned = self._check_first_frame(packets)
        turned = self._turned
        if turned % 180:
            size, scaled = size[::-1], scaled[::-1]
        decoder = self._open_video(shown, size, scaled, turned)
        base, origin = clock
        pts = np.array([packet.pts for packet in shown])
        index, place = np.unique(nearest(pts, seconds / base + origin / base), return_inverse=True)
        starts = np.maximum.accumulate(np.where([packet.is_keyframe for packet in shown], np.arange(len(pts)), 0))
        parts: list[np.ndarray] = []
        for part in steps(index, starts, max(1, PIXELS_AT_ONCE // (size[0] * size[1]))):
            self._watch.check()
            asked = [k for k, _ in part]
            found = _attempt(decoder.get_frames_at, asked)
            if np.abs(np.asarray(found.pts_seconds.cpu()) / base - pts[asked]).max() > 0.5:
                raise Unfit('torchcodec gives frames of other times than its packets have')
            kept = [k for k, (_, wanted) in enumerate(part) if wanted]
            if kept:
                frames = found.data if len(kept) == len(part) else found.data[kept]
                frames = scaled_on_device(frames, scaled) if self._on_gpu and scaled != size else frames
                parts.append(frames.cpu().numpy())
        if getattr(decoder, 'cpu_fallback', False):
            self._tell('not decoded by NVDEC but on the CPU, as others like it', self.info.video_codec)
        # Each copy counts: 100 MB of 16 frames of 1920 x 1080.
        frames = parts[0] if len(parts) == 1 else np.concatenate(parts)
        frames = frames if np.array_equal(place, np.arange(len(frames))) else frames[place]
        return frames, pts[index][place].astype(np.float64) * base - origin

    def _check_file(self) -> None:
        form = self._container.format.name
        with open_binary(self._watch.path) as file:
            head = file.read(8)
        known = head[:1] == b'\0' and head[4:] in MOV_HEADS if form == MOV else head[:4] == MATROSKA_HEAD
        if form not in (MOV, MATROSKA) or not known:
            raise Unfit(f'a file of {form.split(",")[0]}')

    def _check_packets(self, packets: Sequence[Any]) -> list[Any]:
        """The packets of displayed frames, in order of display.

        Raises:
            Unfit: torchcodec would not find their frames, or might not keep within the limits.
        """
        codec = self.video_stream.codec_context
        if codec.codec.canonical_name not in PLANNED_CODECS:
            raise Unfit(f'a packet of {codec.name} may be no frame, or several')
        if codec.pix_fmt not in SAME_COLOURS:
            raise Unfit(f'frames of {codec.pix_fmt}')
        if not packets or not packets[0].is_keyframe or any(packet.is_corrupt for packet in packets):
            raise Unfit('it is damaged, or marks no keyframe')
        if may_change(self.video_stream, packets):
            raise Unfit(f'its {codec.name} may change the size of frames')
        shown = [packet for packet in packets if not packet.is_discard]
        stamps = {packet.pts for packet in shown}
        if None in stamps or not 0 < len(shown) == len(stamps):
            raise Unfit('time stamps are missing or repeated')
        return sorted(shown, key=lambda packet: packet.pts)

    def _check_first_frame(self, packets: Sequence[Any]) -> float:
        """Degrees by which frames are turned, by the first one, which PyAV decodes within the limits.

        Raises:
            Unfit: It cannot be decoded, is mirrored, or is not what the header says.
        """
        frame = next((frame for _, frame in self._decoder.frames(packets)), None)
        if frame is None or (frame.height, frame.width) != (self.info.height, self.info.width):
            raise Unfit('its first frame cannot be decoded, or has another size than its header states')
        orientation = orientation_of(frame)
        if orientation not in TURNED:
            raise Unfit('its frames are mirrored')
        return 90.0 * TURNED.index(orientation)

    def _open_video(self, shown: Sequence[Any], size: tuple[int, int], scaled: tuple[int, int], turned: float) -> Any:
        """A decoder that knows these packets only; height and width are those of upright frames."""
        path = self._watch.path
        frames = [dict(pts=p.pts, duration=p.duration or 1, key_frame=int(p.is_keyframe)) for p in shown]
        decoder = _attempt(
            self._library.VideoDecoder,
            path.read() if isinstance(path, StoredFile) else file_url(path),
            stream_index=self.video_stream.index,
            dimension_order='NHWC',
            num_ffmpeg_threads=self._threads,
            device=self._device,
            transforms=None if self._on_gpu or scaled == size else [self._library.Resize(scaled)],
            custom_frame_mappings=json.dumps(dict(frames=frames)),
        )
        told, start = decoder.metadata, self.video_stream.start_time
        if (told.height, told.width) != size or ((told.rotation or 0) - turned) % 360:
            raise Unfit('FFmpeg of the system reads another size or rotation from its header')
        begin = told.begin_stream_seconds_from_header
        if begin is not None and abs(begin - float((start or 0) * self.video_stream.time_base)) > 1e-4:
            raise Unfit('FFmpeg of the system reads another start from its header')
        return decoder

    def _tell(self, what: str, kind: str, more: str = '') -> None:
        """Logs what is done with a file, for the first one of a kind."""
        if (what, kind) not in _told:
            _told.add((what, kind))
            print_log(f'{self.info.path}: {what}: {kind}{more and f" ({more})"}', 'current', level=logging.INFO)


def _attempt(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls torchcodec.

    Raises:
        Unfit: It fails.
    """
    try:
        return function(*args, **kwargs)
    except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
        text = str(error).split('\n')[0] or type(error).__name__
        raise Unfit('torchcodec fails', text) from error


def steps(index: np.ndarray, starts: np.ndarray, at_once: int) -> Iterator[list[tuple[int, bool]]]:
    """Which frames to ask for in one call, so that no call decodes many more than ``at_once``.

    Args:
        index: Places of the wanted frames (M,), ascending, in order of display.
        starts: Place of the keyframe from which each frame is decoded (N,).
        at_once: Frames decoded in one call.

    Yields:
        Places, and whether the frame is wanted: others only divide a long way to one.

    >>> list(steps(np.array([1, 7]), np.zeros(9, np.int64), 3))
    [[(1, True), (4, False)], [(7, True)]]
    """
    part: list[tuple[int, bool]] = []
    cost, last = 0, -1
    for k in index.tolist():
        first = max(last + 1, int(starts[k]))
        for divide in itertools.chain(range(first + at_once - 1, k, at_once), [k]):
            part.append((divide, divide == k))
            cost, first = cost + divide + 1 - first, divide + 1
            if cost >= at_once:
                yield part
                part, cost = [], 0
        last = k
    if part:
        yield part


def scaled_on_device(frames: Any, size: tuple[int, int]) -> Any:
    """Scales frames (T, H, W, 3) uint8 to a height and width where they are; bilinear, without aliases."""
    import torch
    from torch.nn.functional import interpolate

    # One at a time, as a frame takes four times its memory meanwhile.
    planes = (frame.permute(2, 0, 1)[None].float() for frame in frames)
    scaled = [interpolate(plane, size=size, mode='bilinear', antialias=True) for plane in planes]
    return torch.cat(scaled).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
