"""A clip to measure reading with where no data set is at hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from mmav.datasets.media.opening import file_url

SECONDS, FPS, HEIGHT, WIDTH, SAMPLE_RATE = 10, 30, 256, 340, 44100
# x264's own default: the reader has to decode on from a keyframe that may lie 8 s back, as on clips from the web.
KEYFRAME_INTERVAL = 250
DESCRIPTION = (
    f'generated: {SECONDS} s, {WIDTH}x{HEIGHT}, {FPS} fps, H.264 (a keyframe every {KEYFRAME_INTERVAL} frames), '
    f'AAC {SAMPLE_RATE / 1000:g} kHz stereo'
)
_AAC_FRAME = 1024


def write_sample_clip(
    path: str | Path, *, seconds: float = SECONDS, height: int = HEIGHT, width: int = WIDTH, seed: int = 0
) -> Path:
    """Writes an mp4 file like the 10 s clips of VGGSound at 256 pixels: H.264 in x264's defaults, stereo AAC.

    The picture is texture of all scales that pans, a patch of another texture that moves across it, and noise of the
    sensor; the sound is a chord with vibrato and pink-like noise, which differ between the channels.

    Args:
        path: The file, ending in .mp4.
        seconds: Length.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
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
        wave = _sound(rng, round(seconds * SAMPLE_RATE))
        heard = 0
        for index, picture in enumerate(_pictures(rng, round(seconds * FPS), height, width)):
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
            # Picture and sound take turns in the file, as muxers of the web write them.
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
    """Random texture (height, width, 3) uint8 whose amplitude falls with frequency, as that of photographs does."""
    out = np.zeros((height, width, 3), np.float32)
    for octave in range(7):
        size = (max(2, width >> octave), max(2, height >> octave))
        noise = rng.standard_normal((size[1], size[0], 3)).astype(np.float32)
        grey = noise.mean(axis=2, keepdims=True)
        out += cv2.resize(0.4 * noise + grey, (width, height), interpolation=cv2.INTER_CUBIC) * 1.35**octave
    out -= out.min()
    return (out * (255 / out.max())).astype(np.uint8)


def _pictures(rng: np.random.Generator, count: int, height: int, width: int) -> list[np.ndarray]:
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


def _sound(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Sound (2, samples) float32."""
    time = np.arange(samples) / SAMPLE_RATE
    chord = sum(
        np.sin(2 * np.pi * pitch * time + 3 * np.sin(2 * np.pi * 5 * time)) / k
        for k, pitch in enumerate((220.0, 330.0, 550.0, 1760.0, 4400.0), 1)
    )
    noise = np.cumsum(rng.standard_normal((2, samples)), axis=1)
    noise = noise - cv2.blur(noise, (401, 1))
    return (0.15 * chord * np.array([[1.0], [0.7]]) + 0.02 * noise).clip(-1, 1).astype(np.float32)
