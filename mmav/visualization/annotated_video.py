"""A copy of a media file with its audio and something drawn on each frame."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from tqdm import tqdm

from mmav.datasets.media import PairReader, StreamReader, open_stream
from mmav.datasets.media.audio_copy import AudioCopy
from mmav.datasets.media.opening import file_url, media_errors
from mmav.datasets.media.transcode import TranscodeOptions, TranscodeResult, VideoTrack
from mmav.datasets.media.video import orientation_of, upright
from mmav.errors import MediaError
from mmav.outputs import ANNOTATED, writing
from mmav.visualization.spectrogram_canvas import SpectrogramCanvas

# Suffix -> FFmpeg's name of the container.
CONTAINERS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska'}
# seconds; the frame that is visible when a part starts may have appeared that much earlier
LEAD = 5.0
# seconds between frames that the copy's clock may not resolve; the later of two is shown
CLOSE = 1e-4
# frames have the size of the copy already
OPTIONS = TranscodeOptions(short_side=2**15, keyframes=50, crf=18, preset='veryfast')
# FFmpeg's number of a colour matrix -> swscale's name.
MATRICES = {1: 'ITU709', 4: 'FCC', 5: 'ITU601', 6: 'ITU601', 7: 'SMPTE240M', 9: 'BT2020'}
UNTAGGED = (None, 2, 2, 2)
BAR = '{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]'

Draw = Callable[[np.ndarray, float], np.ndarray]


def write_annotated_video(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    draw: Draw,
    *,
    start: float | None = None,
    end: float | None = None,
    max_side: int | None = 1280,
    min_side: int = 320,
    canvas_fps: float = 25.0,
    progress: bool = False,
) -> None:
    """Writes a copy of a file with something drawn on each frame: H.264, upright, frames at their times, with audio.

    Audio is copied in its codec if the container supports it, else encoded as AAC. A file without video gets a moving
    spectrogram to draw on. The copy is written whole or not at all.

    Args:
        path: Any media file.
        out: The copy, .mp4, .mov or .mkv; its folder is created; only a copy written by this function is replaced.
        draw: Takes a frame (H, W, 3) uint8 RGB, upright, and its time in seconds from the file's start; returns the
            frame that is written, of one size for all frames.
        start: Start of the part that is written in seconds; None for the file's.
        end: Its end in seconds; None for the file's.
        max_side: Largest height and width in pixels; larger frames are shrunk. None keeps their size.
        min_side: Smaller frames are enlarged until the longer side has this many pixels, so that text is legible.
        canvas_fps: Frames per second for a file without video.
        progress: Whether to show a progress bar.

    Raises:
        MediaError: The file cannot be read, or the copy cannot be written.
        OutputError: Another file has the copy's name.
        ValueError: An argument is invalid, or ``draw`` returns something invalid.
    """
    path, target = os.fspath(path), Path(out)
    _check(path, target, start, end, max_side, min_side, canvas_fps)
    with open_stream(path) as reader:
        begin, stop = start or 0.0, math.inf if end is None else end
        if begin >= reader.info.duration:
            raise MediaError(path, f'the part starts at {begin:g} s, but the file ends at {reader.info.duration:g} s')
        if reader.info.has_video:
            frames, fps = _frames(reader, begin, stop, max_side, min_side), reader.info.fps
        else:
            frames, fps = _canvas_frames(reader, begin, stop, canvas_fps), canvas_fps
        form = CONTAINERS[target.suffix.lower()]
        with ExitStack() as stack:
            part = stack.enter_context(_written_whole(target))
            sounds: Any = stack.enter_context(open_stream(path)) if reader.info.has_audio else None
            container = stack.enter_context(_opened(part, target, form))
            length = min(stop, reader.info.duration) - begin
            bar = stack.enter_context(
                tqdm(desc=target.name, total=round(length, 2), unit='s', disable=not progress, bar_format=BAR)
            )
            video, sound, size = None, None, ()
            for time, image, source in frames:
                drawn = draw(image, time)
                size = size or np.shape(drawn)
                _check_drawn(drawn, size)
                with _writing(target):
                    picture = _picture(drawn, source)
                    if video is None:
                        video = VideoTrack(container, picture, fps, OPTIONS, TranscodeResult())
                        sound = AudioCopy(container, sounds.sounds, start=begin, end=stop) if sounds else None
                    video.write(time - begin, picture)
                    if sound:
                        sound.write_until(time - begin)
                bar.update(time - begin - bar.n)
            if video is None:
                raise MediaError(path, f'no frame of its video track can be decoded{" in this part" * (begin > 0)}')
            with _writing(target):
                video.finish(min(stop, reader.info.duration) - begin)
                if sound:
                    sound.write_until(math.inf)


def _check(
    path: str,
    target: Path,
    start: float | None,
    end: float | None,
    max_side: int | None,
    min_side: int,
    canvas_fps: float,
) -> None:
    if target.suffix.lower() not in CONTAINERS:
        raise MediaError(str(target), f'a copy is written as {", ".join(CONTAINERS)}, not as {target.suffix!r}')
    with media_errors(str(target), 'cannot be reached'):
        folder = target.is_dir()
    if folder:
        raise MediaError(str(target), 'is a folder; name the file that is to be written')
    with suppress(OSError):
        if os.path.samefile(path, target):
            raise MediaError(str(target), 'is the source itself; give the copy another name')
    if not 0 <= (start or 0.0) < (math.inf if end is None else end):
        raise ValueError(f'start={start} and end={end} are no part of a file: 0 <= start < end is needed')
    if (max_side is not None and max_side < 2) or min_side < 0 or not canvas_fps > 0:
        raise ValueError(
            f'max_side={max_side} must be 2 or more, min_side={min_side} not below 0, canvas_fps={canvas_fps} above 0'
        )


def _writing(target: Path) -> AbstractContextManager[None]:
    return media_errors(str(target), 'cannot be written')


@contextmanager
def _opened(part: str, target: Path, form: str) -> Iterator[av.container.OutputContainer]:
    """The file that is written. An error on closing it is raised only if there was none before."""
    with _writing(target):
        container = av.open(
            file_url(part), 'w', format=form, options={} if form == 'matroska' else {'movflags': '+faststart'}
        )
    try:
        yield container
    except BaseException:
        with suppress(Exception):
            container.close()
        raise
    with _writing(target):
        container.close()


@contextmanager
def _written_whole(target: Path) -> Iterator[str]:
    """A temporary file beside the target; it replaces the target on success and is removed on an error."""
    with media_errors(str(target), 'its folder cannot be made'):
        target.parent.mkdir(parents=True, exist_ok=True)
    whole = writing(target, kind=ANNOTATED)
    with _writing(target):
        part = whole.__enter__()
    try:
        yield str(part)
    except BaseException:
        whole.__exit__(*sys.exc_info())
        raise
    with _writing(target):
        whole.__exit__(None, None, None)


class _Frame(NamedTuple):
    """Time in seconds, image (H, W, 3) uint8, upright, in the size of the copy, and the decoded frame, if any."""

    time: float
    image: np.ndarray
    source: av.VideoFrame | None


def _frames(
    reader: StreamReader | PairReader, start: float, end: float, max_side: int | None, min_side: int
) -> Iterator[_Frame]:
    size: tuple[int, int] | None = None
    # What is shown when the part starts may have appeared before.
    shown: av.VideoFrame | None = None
    for first, last in reader.pieces(max(0.0, start - LEAD), end):
        for time, frame in reader.iter_frames(first, last):
            if size is None and time > start + CLOSE:
                # Sound that begins earlier is heard with the first picture.
                shown = frame
            size = size or _upright_size(frame, reader.pixel_ratio, max_side, min_side)
            if time <= start + CLOSE:
                shown = frame
                continue
            if shown is not None:
                yield _Frame(start, _image(shown, size), shown)
                shown = None
            yield _Frame(time, _image(frame, size), frame)
    if shown is not None and size is not None:
        yield _Frame(start, _image(shown, size), shown)


def _upright_size(frame: av.VideoFrame, pixel_ratio: float, max_side: int | None, min_side: int) -> tuple[int, int]:
    """Even height and width of the copy, whose pixels are square."""
    sides = frame.height, frame.width * pixel_ratio
    longer = max(sides)
    scale = max(1.0, min_side / longer) if max_side is None else min(max(1.0, min_side / longer), max_side / longer)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in sides)
    return (width, height) if orientation_of(frame).transposed else (height, width)


def _image(frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
    height, width = size[::-1] if orientation_of(frame).transposed else size
    image = frame.to_ndarray(format='rgb24', height=height, width=width, interpolation='BICUBIC', threads=1)
    return np.ascontiguousarray(upright(image, frame))


def _canvas_frames(reader: StreamReader | PairReader, start: float, end: float, fps: float) -> Iterator[_Frame]:
    canvas = SpectrogramCanvas(reader, start=start, end=end)
    for k in range(max(1, math.ceil((canvas.end - start) * fps - 1e-6))):
        yield _Frame(start + k / fps, canvas.draw(start + k / fps), None)


def _colours(frame: av.VideoFrame) -> tuple[str | None, int, int, int]:
    """Matrix by swscale's name, and FFmpeg's tags of matrix, primaries and transfer, to encode as a frame was."""
    matrix = MATRICES.get(frame.colorspace)
    return (matrix, frame.colorspace, frame.color_primaries, frame.color_trc) if matrix else UNTAGGED


def _picture(drawn: np.ndarray, source: av.VideoFrame | None) -> av.VideoFrame:
    """A drawn frame in the encoder's format, of even size, with the colour tags of the source."""
    matrix, *tags = UNTAGGED if source is None else _colours(source)
    height, width = (side + side % 2 for side in drawn.shape[:2])
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format='rgb24').reformat(
        width, height, format='yuv420p', dst_colorspace=matrix, dst_color_range='MPEG', threads=1
    )
    picture.colorspace, picture.color_primaries, picture.color_trc = tags
    return picture


def _check_drawn(drawn: Any, size: tuple[int, ...]) -> None:
    if not isinstance(drawn, np.ndarray) or drawn.dtype != np.uint8 or drawn.ndim != 3 or drawn.shape[2] != 3:
        what = f'shape {drawn.shape} of {drawn.dtype}' if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise ValueError(f'draw must return a frame (H, W, 3) uint8, got {what}')
    if drawn.shape != size:
        raise ValueError(f'draw must return frames of one size, got {drawn.shape} after {size}')
