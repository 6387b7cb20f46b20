"""Frames and waveform into an mp4 file with H.264 and AAC."""

import io
from fractions import Fraction

import av
import numpy as np

_AAC_FRAME = 1024
# With its macroblock tree, x264 gives the same frames other bytes from run to run, in one thread too (seen with PyAV
# 18.1; guarded by test_same_input_gives_same_bytes).
_X264 = {'preset': 'veryfast', 'crf': '20', 'threads': '1', 'x264-params': 'mbtree=0'}


def encode_mp4(frames: np.ndarray, waveform: np.ndarray | None, *, fps: int, sample_rate: int) -> bytes:
    """Encodes a clip; video and audio start together at 0 s.

    The AAC encoder puts 1024 samples of priming before the audio. The mp4 muxer notes them in the edit list, and
    readers based on FFmpeg drop them. Equal input gives equal bytes: one encoder thread, no time stamps in the header.

    Args:
        frames: uint8, (T, H, W, 3), RGB, H and W even.
        waveform: float32, (S,), mono; None for a file without an audio track.
        fps: Frames per second.
        sample_rate: Samples per second.
    """
    buffer = io.BytesIO()
    with av.open(buffer, 'w', format='mp4', options={'fflags': '+bitexact'}) as container:
        video = container.add_stream('libx264', rate=fps, options=_X264)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = 'yuv420p'
        video.gop_size = 12
        if waveform is not None:
            audio = container.add_stream('aac', rate=sample_rate, layout='mono', options={'aac_coder': 'fast'})
            audio.bit_rate = 64000
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if waveform is not None:
            for start in range(0, len(waveform), _AAC_FRAME):
                chunk = np.ascontiguousarray(waveform[None, start : start + _AAC_FRAME])
                samples = av.AudioFrame.from_ndarray(chunk, format='fltp', layout='mono')
                samples.sample_rate, samples.pts, samples.time_base = sample_rate, start, Fraction(1, sample_rate)
                container.mux(audio.encode(samples))
            container.mux(audio.encode(None))
    return buffer.getvalue()
