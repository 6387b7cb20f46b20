"""A contact sheet of a dataset: frames with the object's box, and spectrograms with the event's span."""

import csv
import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mmav.datasets.media.opening import open_container
from mmav.outputs import write_output
from mmav.preparation.avsynth.natural.lists import EVIDENCE, natural_examples
from mmav.preparation.avsynth.spec import AT_ONCE, SEPARATOR, SOUND_EVENTS, VISUAL_EVENTS

_SOUNDS = 'sounds.csv'
_CLIPS = 8
_COLOURS = ('white', 'lime')[:AT_ONCE]


def draw_sheet(
    root: str | os.PathLike[str], png: str | os.PathLike[str], *, split: str = 'test', num_frames: int = 8
) -> None:
    """Draws two clips for each event: one row of frames and one spectrogram per clip.

    The clips are read back from their files. Row k shows the k-th visual event met with the k-th sound event. Of the
    task 'events', whose clips have several or none of each, the first clips are drawn; of 'natural' the first of each
    kind, aligned ones and those that are off-class in one modality.

    Args:
        root: Folder of a complete dataset.
        png: PNG file to write.
        split: Split to take the clips from.
        num_frames: Frames per row, spread over the clip.

    Raises:
        OSError: A list cannot be read.
        MmavError: A clip cannot be opened, or the sheet cannot be written or would replace another file.
    """
    root = Path(root)
    rows = _pick_rows(root, split)
    boxes: dict[str, list[tuple[float, ...]]] = {}
    for line in _rows(root / 'boxes.csv'):
        boxes.setdefault(line['path'], []).append(tuple(float(line[c]) for c in ('x0', 'y0', 'x1', 'y1')))
    spans = _spans(root, rows)
    figure = Figure(figsize=(num_frames + 3.2, 1.06 * len(rows)), dpi=72, layout='constrained')
    axes = figure.subplots(len(rows), 2, width_ratios=[num_frames, 2.6], squeeze=False)
    for row, (left, right) in zip(rows, axes, strict=True):
        frames, waveform, sample_rate = _read(root / row['path'])
        shown = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
        strip = [_with_box(frames[i], boxes[row['path']][i]) for i in shown]
        left.imshow(np.concatenate(strip, axis=1), interpolation='nearest')
        left.set(xticks=[], yticks=[])
        left.set_ylabel(_lines(row['visual']), fontsize=9)
        if waveform is not None:
            _draw_spectrogram(right, waveform, sample_rate)
        else:
            right.set(xticks=[])
        right.set(yticks=[])
        right.set_ylabel(_lines(row['sound']), fontsize=9)
        for number, span in enumerate(spans[row['path']] if waveform is not None else ()):
            for edge in ('onset', 'offset'):
                right.axvline(float(span[edge]), color=_COLOURS[number], linestyle=':')
        if row is not rows[-1]:
            right.set(xticks=[])
    axes[-1, 1].tick_params(labelsize=7)
    canvas, small = io.BytesIO(), io.BytesIO()
    figure.savefig(canvas, format='png')
    # A palette is plenty and takes a third of the bytes.
    Image.open(canvas).convert('RGB').quantize(192, dither=Image.Dither.NONE).save(small, format='PNG', optimize=True)
    write_output(png, small.getvalue())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def _pick_rows(root: Path, split: str) -> list[dict[str, str]]:
    """Two rows of events.csv for each event, the k-th visual with the k-th sound event."""
    lines = [line for line in _rows(root / 'events.csv') if line['path'].startswith(f'clips/{split}/')]
    if (root / EVIDENCE).is_file():
        return natural_examples(lines, _rows(root / EVIDENCE))
    picked = []
    for pair in zip(VISUAL_EVENTS, SOUND_EVENTS, strict=True):
        picked += [line for line in lines if (line['visual'], line['sound']) == pair][:2]
    return lines[:_CLIPS] if (root / _SOUNDS).is_file() else picked


def _spans(root: Path, rows: Sequence[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Path of a clip -> onset and offset of each of its sounds."""
    if not (root / _SOUNDS).is_file():
        return {row['path']: [row] for row in rows}
    found: dict[str, list[dict[str, str]]] = {row['path']: [] for row in rows}
    for line in _rows(root / _SOUNDS):
        if line['path'] in found:
            found[line['path']].append(line)
    return found


def _lines(names: str) -> str:
    return names.replace(SEPARATOR, '\n') or 'none'


def _read(path: Path) -> tuple[list[np.ndarray], np.ndarray | None, int]:
    with open_container(str(path)) as container:
        frames = [frame.to_ndarray(format='rgb24', threads=1) for frame in container.decode(video=0)]
        if not container.streams.audio:
            return frames, None, 1
        container.seek(0)
        samples = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        return frames, np.concatenate(samples), container.streams.audio[0].rate


def _with_box(frame: np.ndarray, box: tuple[float, ...], side: int = 72) -> np.ndarray:
    image = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = (round(value * (side - 1)) for value in box)
    cv2.rectangle(image, (x0, y0), (x1, y1), (255, 255, 255))
    return np.pad(image, ((0, 0), (0, 2), (0, 0)), constant_values=255)


def _draw_spectrogram(axes: Axes, waveform: np.ndarray, sample_rate: int, bands: int = 64) -> None:
    """Log power over time on a logarithmic frequency axis from 150 Hz to 8 kHz, 60 dB deep."""
    window, hop = round(0.04 * sample_rate), round(0.01 * sample_rate)
    pieces = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(pieces, 4 * window)) ** 2
    top = min(8000, sample_rate / 2)
    edges = np.geomspace(150, top, bands + 1) * 4 * window / sample_rate
    image = np.stack([power[:, int(low) : int(high) + 1].mean(axis=1) for low, high in pairwise(edges)])
    decibel = 10 * np.log10(image + 1e-12)
    loudest = max(decibel.max(), -60.0)  # of a track of zeros, which is drawn dark
    span = (0, len(waveform) / sample_rate, 0, 1)
    axes.imshow(decibel, origin='lower', aspect='auto', extent=span, vmin=loudest - 60, vmax=loudest, cmap='magma')
