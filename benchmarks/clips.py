"""What benchmarks of reading read: a config's dataset or a generated clip; and plain code that only decodes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from mmav.datasets.media.opening import file_url, open_container
from mmav.errors import ConfigError
from mmav.registry import DATASETS, FUNCTIONS
from mmav.structures import as_given, as_parts

SECONDS, FPS, HEIGHT, WIDTH, SAMPLE_RATE = 10, 30, 256, 340, 44100
# x264's default: as with clips from the web, the reader may have to decode from a keyframe 8 s back
KEYFRAME_INTERVAL = 250
DESCRIPTION = (
    f'generated: {SECONDS} s, {WIDTH}x{HEIGHT}, {FPS} fps, H.264 (a keyframe every {KEYFRAME_INTERVAL} frames), '
    f'AAC {SAMPLE_RATE / 1000:g} kHz stereo'
)
_AAC_FRAME = 1024


def bare_decode(
    path: str,
    times: np.ndarray | None,
    span: tuple[float, float] | None,
    *,
    short_side: int | None = None,
    sample_rate: int = 16000,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Decodes video and audio as anyone would write it, in one thread.

    Opens the file, seeks to the keyframe before the first wanted frame, decodes up to the last one and converts the
    wanted frames, each once, to RGB; then seeks to the start of the span, decodes its audio and resamples it to mono.
    It trusts the file: no damaged packets, no edit lists, no tracks that start late.

    Args:
        path: The file.
        times: Seconds of the wanted frames in any order; the nearest frames are taken. None for no video.
        span: Start and end of the wanted audio in seconds; None for no audio.
        short_side: Short side of the frames in pixels; None keeps their size.
        sample_rate: Audio samples per second.

    Returns:
        A frame (H, W, 3) uint8 RGB for each time, and the samples (S,) float32.

    Raises:
        MediaError: The file cannot be opened.
        av.FFmpegError: The file cannot be read.
        IndexError: It has no such track.
        ValueError: There is nothing at the wanted times.
    """
    with open_container(path) as container:
        frames = [] if times is None else _decode_frames(container, np.asarray(times).reshape(-1), short_side)
        wave = None if span is None else _decode_sound(container, *span, sample_rate)
    return frames, wave


def _decode_frames(container: Any, times: np.ndarray, short_side: int | None) -> list[np.ndarray]:
    stream = container.streams.video[0]
    stream.thread_type = 'NONE'
    origin = float((stream.start_time or 0) * stream.time_base)
    order = np.argsort(times)
    wanted = times[order] + origin
    container.seek(max(0, int(wanted[0] / stream.time_base)), stream=stream)
    chosen: list[Any] = []
    before = None
    for frame in container.decode(stream):
        while len(chosen) < len(wanted) and wanted[len(chosen)] <= frame.time:
            time = wanted[len(chosen)]
            chosen.append(before if before is not None and time - before.time <= frame.time - time else frame)
        if len(chosen) == len(wanted):
            break
        before = frame
    chosen += [before] * (len(wanted) - len(chosen))
    if chosen[0] is None:
        raise ValueError('no frame was decoded')
    scale = 1.0 if short_side is None else short_side / min(chosen[0].height, chosen[0].width)
    size = dict(height=round(chosen[0].height * scale), width=round(chosen[0].width * scale))
    arrays = {frame.pts: frame for frame in chosen}
    arrays = {pts: frame.to_ndarray(format='rgb24', threads=1, **size) for pts, frame in arrays.items()}
    return [arrays[chosen[place].pts] for place in np.argsort(order)]


def _decode_sound(container: Any, start: float, end: float, sample_rate: int) -> np.ndarray:
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format='flt', layout='mono', rate=sample_rate)
    container.seek(max(0, int(start / stream.time_base)), stream=stream)
    first: float | None = None
    pieces: list[np.ndarray] = []
    for frame in container.decode(stream):
        if frame.time >= end:
            break
        first = frame.time if first is None else first
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    if first is None:
        raise ValueError('no sound was decoded')
    skip = max(0, round((start - first) * sample_rate))
    return np.concatenate(pieces)[skip : skip + round((end - start) * sample_rate)]


def write_sample_clip(
    path: str | Path, *, seconds: float = SECONDS, height: int = HEIGHT, width: int = WIDTH, seed: int = 0
) -> Path:
    """Writes an mp4 file like the 10 s clips of VGGSound at 256 pixels: H.264 in x264's defaults, stereo AAC.

    The video is a panning texture of all scales, a patch of another texture that moves across it, and sensor noise;
    the audio is a chord with vibrato and pink-like noise, which differ between the channels.

    Args:
        path: The file, ending in .mp4.
        seconds: Length.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        seed: Of texture, paths and noise.

    Returns:
        The path.
    """
    rng = np.random.default_rng(seed)
    with av.open(file_url(str(path)), 'w') as container:
        video = container.add_stream('libx264', rate=FPS)
        video.width, video.height, video.pix_fmt, video.gop_size = width, height, 'yuv420p', KEYFRAME_INTERVAL
        video.options = {'crf': '23'}
        audio = container.add_stream('aac', rate=SAMPLE_RATE, layout='stereo')
        audio.bit_rate = 128000
        wave = _draw_sound(rng, round(seconds * SAMPLE_RATE))
        heard = 0
        for index, picture in enumerate(_draw_images(rng, round(seconds * FPS), height, width)):
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            # video and audio are interleaved, as in files from the web
            while heard < wave.shape[1] and heard / SAMPLE_RATE <= (index + 1) / FPS:
                piece = np.ascontiguousarray(wave[:, heard : heard + _AAC_FRAME])
                sound = av.AudioFrame.from_ndarray(piece, format='fltp', layout='stereo')
                sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, heard, Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(sound))
                heard += _AAC_FRAME
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return Path(path)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random texture (height, width, 3) uint8 whose amplitude falls with frequency, as in photographs."""
    out = np.zeros((height, width, 3), np.float32)
    for octave in range(7):
        size = (max(2, width >> octave), max(2, height >> octave))
        noise = rng.standard_normal((size[1], size[0], 3)).astype(np.float32)
        grey = noise.mean(axis=2, keepdims=True)
        out += cv2.resize(0.4 * noise + grey, (width, height), interpolation=cv2.INTER_CUBIC) * 1.35**octave
    out -= out.min()
    return (out * (255 / out.max())).astype(np.uint8)


def _draw_images(rng: np.random.Generator, count: int, height: int, width: int) -> list[np.ndarray]:
    ground, patch = _texture(rng, height * 2, width * 2), _texture(rng, height // 3, width // 3)
    pictures = []
    for index in range(count):
        phase = 2 * np.pi * index / (FPS * SECONDS)
        top, left = (round(side / 2 * (1 + np.sin(k * phase))) for side, k in ((height, 2), (width, 1)))
        picture = ground[top : top + height, left : left + width].copy()
        y, x = (round((side - size) / 2 * (1 + np.cos(k * phase))) for side, size, k in zip(
            (height, width), patch.shape, (5, 3), strict=False
        ))  # fmt: skip
        picture[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        noise = rng.normal(0, 3.5, (height, width, 1)).astype(np.float32)
        pictures.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
    return pictures


def _draw_sound(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Audio (2, samples) float32."""
    time = np.arange(samples) / SAMPLE_RATE
    chord = sum(
        np.sin(2 * np.pi * pitch * time + 3 * np.sin(2 * np.pi * 5 * time)) / k
        for k, pitch in enumerate((220.0, 330.0, 550.0, 1760.0, 4400.0), 1)
    )
    noise = np.cumsum(rng.standard_normal((2, samples)), axis=1)
    noise = noise - cv2.blur(noise, (401, 1))
    return (0.15 * chord * np.array([[1.0], [0.7]]) + 0.02 * noise).clip(-1, 1).astype(np.float32)


def build_dataset(loader: Mapping[str, Any], *, clip: str | Path | None = None, folder: str | Path = '') -> Any:
    """The dataset of a dataloader's config, or one that returns a single clip again and again.

    Args:
        loader: Config of a dataloader; not changed.
        clip: A media file to read instead of the config's manifest.
        folder: Where the manifest of that one clip is written.

    Raises:
        ConfigError: The dataset does not have a manifest and a pipeline.
        MmavError: Its manifest or class list cannot be read.
    """
    init_default_scope('mmav')
    config = dict(loader['dataset'])
    if 'ann_file' not in config or 'pipeline' not in config:
        raise ConfigError(f'dataset of type {config.get("type")!r}: one with ann_file and pipeline can be measured')
    if clip is not None:
        classes = config.get('classes')
        columns = list(as_parts(classes))
        names = ('clip',)
        manifest = Path(folder) / 'one_clip.csv'
        row = [f'"{Path(clip).resolve()}"', *['0'] * len(columns)]
        manifest.write_text(f'path,{",".join(columns)}\n{",".join(row)}\n', encoding='utf-8')
        config.update(
            ann_file=str(manifest), data_root='', indices=None, max_broken_share=1.0,
            classes=as_given(dict.fromkeys(columns, names)),
        )  # fmt: skip
    return DATASETS.build(config)


def build_collate(loader: Mapping[str, Any]) -> Callable[[Sequence[Any]], Any]:
    """The collate function of a dataloader's config, as MMEngine's Runner builds it."""
    config = dict(loader.get('collate_fn') or {})
    if not config:
        return pseudo_collate
    kind = config.pop('type')
    return partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **config)
