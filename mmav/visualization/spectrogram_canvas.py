"""The moving spectrogram that replaces the missing video of an audio file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw

from mmav.datasets.media import PairReader, StreamReader
from mmav.datasets.transforms.log_mel import native_fbank
from mmav.mel import LOW_FREQ, hertz_to_mel
from mmav.visualization.captions import clock, draw_text, drawable, fitting_font, shortened

SAMPLE_RATE, MEL_BINS, SHIFT_MS, FRAME = 16000, 64, 10.0, 400  # Hz, bins, ms, samples
BACKGROUND, TEXT, FAINT, CURSOR = (24, 28, 34), (222, 228, 234), (140, 150, 160), (255, 255, 255)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
TICK_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
# the colour map spans at least that many units of natural logarithm, so that faint noise does not look like an event
LEAST_RANGE = 6.0


class SpectrogramCanvas:
    """Draws the log-mel spectrogram of a file's audio, in the form of a model's input (16 kHz, mono), with a cursor.

    A long file is shown in a window around the cursor. The upper part of the image is left free for captions.

    Args:
        reader: The file.
        start: Start of the part that is drawn in seconds.
        end: Its end; infinity for the file's.
        size: Height and width of the image in pixels.
        window: Seconds that are visible at once.
        headroom: Share of the height that is left free.

    Attributes:
        start: Start of the part in seconds.
        end: Its end in seconds.
    """

    def __init__(
        self,
        reader: StreamReader | PairReader,
        *,
        start: float = 0.0,
        end: float = math.inf,
        size: tuple[int, int] = (480, 640),
        window: float = 20.0,
        headroom: float = 0.48,
    ) -> None:
        self._levels = _levels(reader, start, end)
        self.start, self.end = start, min(end, reader.info.duration)
        self._name = Path(reader.info.path).name
        self._window = min(window, self.end - self.start)
        self._colours = (colormaps['magma'](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
        height, width = size
        self._size, self._font = size, max(9, round(min(size) / 32))
        left, foot = 5 * self._font, 4 * self._font
        self._box = left, round(height * headroom), width - 2 * self._font, height - foot
        self._background = self._axes()

    def draw(self, seconds: float) -> np.ndarray:
        """The image (H, W, 3) uint8 at a time in seconds from the file's start."""
        left, top, right, bottom = self._box
        first = min(max(seconds - self._window / 2, self.start), self.end - self._window)
        image = self._background.copy()
        columns = np.array([first, first + self._window]) - self.start
        columns = (columns * 1000 / SHIFT_MS).clip(0, self._levels.width)
        box = (columns[0], 0, max(columns[1], columns[0] + 0.01), MEL_BINS)
        plot = self._levels.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
        image.paste(Image.fromarray(self._colours[np.asarray(plot)]), (left, top))
        pen, font = ImageDraw.Draw(image), fitting_font('0', self._font)
        step = next((step for step in TICK_SECONDS if self._window / step <= 8), 60.0)
        for k in range(math.ceil(first / step - 1e-9), math.floor((first + self._window) / step + 1e-9) + 1):
            x = left + (k * step - first) / self._window * (right - left)
            pen.line((x, bottom, x, bottom + self._font // 3), fill=FAINT)
            pen.text((x, bottom + self._font // 2), f'{k * step:g}', fill=TEXT, font=font, anchor='mt')
        x = left + (seconds - first) / self._window * (right - left)
        pen.line((x, top - self._font // 2, x, bottom), fill=CURSOR, width=max(1, self._font // 6))
        words = f'{clock(seconds)} / {clock(self.end)}'
        pen.text((right, self._size[0] - self._font // 2), words, fill=TEXT, font=font, anchor='rb')
        return np.array(image)

    def _axes(self) -> Image.Image:
        """The static background."""
        height, width = self._size
        left, top, right, bottom = self._box
        image = Image.new('RGB', (width, height), BACKGROUND)
        pen, font = ImageDraw.Draw(image), fitting_font('0', self._font)
        low, high = hertz_to_mel(LOW_FREQ), hertz_to_mel(SAMPLE_RATE / 2)
        for hertz in TICKS_HZ:
            y = bottom - (hertz_to_mel(hertz) - low) / (high - low) * (bottom - top)
            pen.line((left - self._font // 3, y, left, y), fill=FAINT)
            pen.text((left - self._font // 2, y), f'{hertz / 1000:g}', fill=TEXT, font=font, anchor='rm')
        words = Image.new('RGB', (bottom - top, round(1.5 * self._font)), BACKGROUND)
        ImageDraw.Draw(words).text(
            (words.width / 2, words.height / 2), 'frequency (kHz, mel)', fill=FAINT, font=font, anchor='mm'
        )
        image.paste(words.rotate(90, expand=True), (self._font // 3, top))
        pen.text(((left + right) / 2, height - self._font // 2), 'time (s)', fill=FAINT, font=font, anchor='mb')
        title = drawable(self._name)
        font = fitting_font(title, self._font)
        name = shortened(title, font, (right - left) / 3)
        draw_text(pen, (self._font, height - self._font // 2), name, fill=TEXT, font=font, anchor='lb')
        return image


def _levels(reader: StreamReader | PairReader, start: float, end: float) -> Image.Image:
    """The spectrogram of a part as grey levels, high frequencies on top, a column every ``SHIFT_MS``."""
    spectra: list[np.ndarray] = []
    rest = np.zeros(0, np.float32)
    shift = round(SAMPLE_RATE * SHIFT_MS / 1000)
    for first, last in reader.pieces(start, end):
        wave = reader.read_audio(first, last, SAMPLE_RATE)
        rest = np.concatenate(
            [rest, np.zeros(round((last - first) * SAMPLE_RATE), np.float32) if wave is None else wave]
        )
        count = (len(rest) - FRAME) // shift + 1
        if count > 0:
            used = torch.from_numpy(rest[: (count - 1) * shift + FRAME])
            spectra.append(native_fbank(used, MEL_BINS, SAMPLE_RATE, SHIFT_MS).numpy().astype(np.float16))
            rest = rest[count * shift :]
    mel = np.concatenate(spectra) if spectra else np.full((1, MEL_BINS), -16, np.float16)
    sample = mel[:: max(1, len(mel) // 20000)].astype(np.float32)
    high = float(np.percentile(sample, 99.8))
    low = min(float(np.percentile(sample, 5)), high - LEAST_RANGE)
    levels = np.empty(mel.shape, np.uint8)
    for k in range(0, len(mel), 10000):
        part = (mel[k : k + 10000].astype(np.float32) - low) / (high - low)
        levels[k : k + 10000] = (part.clip(0, 1) * 255).round()
    return Image.fromarray(np.ascontiguousarray(levels.T[::-1]))
