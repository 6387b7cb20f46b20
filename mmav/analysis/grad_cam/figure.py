"""A page on one clip: the frames and spectrogram that models got, and their maps over these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmav.analysis.grad_cam.pictures import CamRow, draw_spectrogram, overlay_heatmap, pick_frames, side_by_side
from mmav.errors import MmavError
from mmav.outputs import write_output
from mmav.visualization.figures import figure_bytes
from mmav.visualization.prediction_sheet import RIGHT, WRONG

# inches
WIDTH, MARGIN, TITLE, LINE, SOUND_HEIGHT, SOUND_GAP, BAR_WIDTH = 11.0, 0.15, 0.36, 0.27, 1.35, 0.42, 0.12
DPI = 110


def draw_cam_figure(
    rows: Sequence[CamRow], out_file: str | Path, *, title: str = '', num_frames: int = 9, box: np.ndarray | None = None
) -> None:
    """Draws a page on one clip into a PNG file, whole or not at all.

    Raw frames with their times; below them, for each model, its label over the frames with its map; then the
    spectrogram and, for each model with audio, its map over it.

    Args:
        rows: The models.
        out_file: The picture.
        title: A line above all, such as the name of the file and its true label.
        num_frames: Frames in a row.
        box: Left, top, right, bottom (T, 4) in [0, 1] of the first model's frames: the event's place, drawn on the raw
            frames.

    Raises:
        MmavError: There is nothing to draw.
    """
    seen = [row for row in rows if row.frames is not None]
    heard = [row for row in rows if row.spectrogram is not None]
    if not seen and not heard:
        raise MmavError('there is neither video nor audio to draw')
    strip_height = 0.0
    if seen:
        frames = seen[0].frames
        assert frames is not None  # for the type checker
        shown = len(pick_frames(len(frames), num_frames))
        strip_height = min((WIDTH - 2 * MARGIN) * frames.shape[1] / frames.shape[2] / shown, 2.4)
    # raw frames and the raw spectrogram come before those with maps
    height = 2 * MARGIN + TITLE + (bool(seen) + len(seen)) * (LINE + strip_height)
    height += (bool(heard) + len(heard)) * (LINE + SOUND_HEIGHT) + bool(heard) * SOUND_GAP
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    page = _Page(figure, height)
    page.text(title, size=11, weight='bold', high=TITLE)
    if seen:
        first = seen[0]
        page.text('what the model sees' + ('; framed: the event' if box is not None else ''), colour='#555555')
        page.strip(first, None, strip_height, num_frames, box)
    for row in seen:
        page.text(row.label, colour=_colour(row.right))
        page.strip(row, row.cam, strip_height, num_frames, None)
    if heard:
        page.text('what the model hears', colour='#555555')
        page.sound(heard[0], None, last=False)
    for row in heard:
        page.text(row.label, colour=_colour(row.right))
        page.sound(row, row.sound_cam, last=row is heard[-1])
    write_output(out_file, figure_bytes(figure))


def _colour(right: bool | None) -> str:
    return 'black' if right is None else RIGHT if right else WRONG


class _Page:
    """A figure that is filled from the top."""

    def __init__(self, figure: Figure, height: float) -> None:
        self.figure, self.height, self.top = figure, height, MARGIN

    def text(
        self, words: str, *, size: float = 9, weight: str = 'normal', colour: str = 'black', high: float = LINE
    ) -> None:
        y = 1 - (self.top + high / 2) / self.height
        self.figure.text(
            MARGIN / WIDTH, y, words, fontsize=size, weight=weight, color=colour, va='center', parse_math=False
        )
        self.top += high

    def axes(self, left: float, width: float, high: float) -> Axes:
        return self.figure.add_axes(
            (left / WIDTH, 1 - (self.top + high) / self.height, width / WIDTH, high / self.height)
        )

    def strip(
        self, row: CamRow, cam: np.ndarray | None, high: float, num_frames: int, boxes: np.ndarray | None
    ) -> None:
        assert row.frames is not None  # for the type checker
        chosen = pick_frames(len(row.frames), num_frames)
        frames = row.frames[chosen] if cam is None else overlay_heatmap(row.frames[chosen], cam[chosen])
        axes = self.axes(MARGIN, WIDTH - 2 * MARGIN, high)
        axes.imshow(side_by_side(frames), interpolation='nearest' if frames.shape[1] > 100 else 'bicubic')
        axes.set(xticks=[], yticks=[])
        axes.set_anchor('W')
        axes.spines[:].set_visible(False)
        width, tall = frames.shape[2], frames.shape[1]
        for k, frame in enumerate(chosen):
            if k:
                axes.axvline(k * width - 0.5, color='white', linewidth=1.5)
            if cam is None and row.times is not None:
                words = f'{row.times[frame]:.2f} s'
                text = axes.text((k + 0.03) * width, 0.96 * tall, words, color='white', fontsize=7, va='bottom')
                text.set_bbox(dict(facecolor='black', alpha=0.5, linewidth=0, pad=1))
            if boxes is not None:
                x0, y0, x1, y1 = boxes[frame].clip(0, 1) * (width, tall, width, tall)
                x0, x1 = x0 + k * width - 0.5, x1 + k * width - 0.5
                axes.plot([x0, x1, x1, x0, x0], np.array([y0, y0, y1, y1, y0]) - 0.5, color='white', linewidth=1.2)
        axes.set_xlim(-0.5, len(chosen) * width - 0.5)
        axes.set_ylim(tall - 0.5, -0.5)
        self.top += high

    def sound(self, row: CamRow, cam: np.ndarray | None, *, last: bool) -> None:
        assert row.spectrogram is not None  # for the type checker
        left, right = 0.75, 0.8
        axes = self.axes(left, WIDTH - left - right, SOUND_HEIGHT)
        image = draw_spectrogram(axes, row.spectrogram, cam, axes_of=row.axes, start=row.start)
        axes.tick_params(labelbottom=last)
        if not last:
            axes.set_xlabel('')
        if cam is not None or row.spectrogram.ndim == 2:  # a waveform alone has no colours
            bar = self.axes(WIDTH - right + 0.1, BAR_WIDTH, SOUND_HEIGHT)
            self.figure.colorbar(image, cax=bar)
            bar.tick_params(labelsize=7)
            bar.set_ylabel('log-mel energy' if cam is None else 'map', fontsize=7)
        self.top += SOUND_HEIGHT
