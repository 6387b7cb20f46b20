"""The figures on the page of demo/web_demo.py, as HTML with the PNG inside."""

from __future__ import annotations

import base64
from html import escape

import numpy as np
from matplotlib.figure import Figure

from mmav.analysis.grad_cam.pictures import draw_spectrogram, overlay_heatmap, pick_frames, side_by_side
from mmav.class_names import label_set
from mmav.visualization.figures import figure_bytes
from mmav.visualization.timeline import draw_timeline
from mmav.web.demo import Answer, Explanation

# inches, about as wide as on the page, so that text keeps its size
WIDTH, TEXT_HEIGHT, TALLEST_STRIP, AUDIO_HEIGHT = 6.4, 0.24, 1.6, 1.05
DPI, MOST_FRAMES = 150, 8


def image_html(figure: Figure, words: str) -> str:
    """A figure inside a page: there is no file to serve and remove.

    Args:
        figure: The figure.
        words: Alternative text.
    """
    data = base64.b64encode(figure_bytes(figure, dpi=DPI)).decode()
    return f'<div class="mmav-picture"><img alt="{escape(words)}" src="data:image/png;base64,{data}"></div>'


def timeline_html(answer: Answer, names: dict[str, list[str]]) -> str:
    """The predictions along a clip, as a figure and as a table.

    Args:
        answer: Predictions for several windows.
        names: Part -> names of its classes.
    """
    drawn, rows = '', ''
    for part, scores in answer.scores.items():
        what = 'Predictions along the clip' + ('' if part == 'label' else f': {part}s')
        drawn += f'<div class="mmav-caption">{what}</div>'
        limits = None if answer.thresholds is None else answer.thresholds[part]
        drawn += image_html(draw_timeline(answer.spans, scores, names[part], thresholds=limits), what)
    for number, (start, end) in enumerate(answer.spans):
        cells = ''
        for part, scores in answer.scores.items():
            best = int(scores[number].argmax())
            said = names[part][best]
            if answer.thresholds is not None:
                reached = np.flatnonzero(scores[number] >= answer.thresholds[part])
                said = label_set(names[part][k] for k in reached[(-scores[number, reached]).argsort(kind='stable')])
            cells += f'<td>{escape(said) or "none"}</td><td>{100 * scores[number, best]:.1f} %</td>'
        rows += f'<tr><td>{start:.1f} to {end:.1f} s</td>{cells}</tr>'
    return f'{drawn}<details><summary>As a table</summary><table class="mmav-table">{rows}</table></details>'


def explanation_html(found: Explanation, name: str) -> str:
    """Grad-CAM: frames above the same frames with the map, and the spectrogram above itself with the map.

    Args:
        found: The maps; the first of several views is shown.
        name: The class that they explain.
    """
    seen, html = found.seen, ''
    if 'video' in found.maps and seen.frames is not None and seen.frame_times is not None:
        figure = _draw_frames(seen.frames[0], found.maps['video'][0].numpy(), seen.frame_times[0])
        html += image_html(figure, f'Frames of the video, and the evidence in them for {name}')
    if 'audio' in found.maps:
        html += image_html(_draw_audio(found), f'Spectrogram of the audio, and the evidence in it for {name}')
    without = [modality for modality, cam in found.maps.items() if float(cam.max()) == 0]
    words = f'Red marks the evidence for <b>{escape(name)}</b> (Grad-CAM), {seen.start:.1f} to {seen.end:.1f} s.'
    if without:
        words += f' There is none in the {" or the ".join(without)}.'
    return f'{html}<div class="mmav-caption">{words}</div>'


def _draw_frames(frames: np.ndarray, cam: np.ndarray, times: np.ndarray) -> Figure:
    """Frames (T, H, W, 3) with their times (T,), above the same frames with the map (T, H, W)."""
    chosen = pick_frames(len(frames), MOST_FRAMES)
    high = min(WIDTH / len(chosen) * frames.shape[1] / frames.shape[2], TALLEST_STRIP)
    wide = high * len(chosen) * frames.shape[2] / frames.shape[1]
    figure = Figure(figsize=(wide, 2 * high + TEXT_HEIGHT))
    whole = 2 * high + TEXT_HEIGHT
    for row, shown in enumerate((frames[chosen], overlay_heatmap(frames[chosen], cam[chosen]))):
        axes = figure.add_axes((0, (1 - row) * high / whole, 1, high / whole))
        axes.imshow(side_by_side(shown), interpolation='bicubic', aspect='auto')
        axes.set_axis_off()
        for edge in range(1, len(chosen)):
            axes.axvline(edge * frames.shape[2] - 0.5, color='white', lw=1.5)
    for k, seconds in enumerate(times[chosen]):
        figure.text(
            (k + 0.5) / len(chosen), 1 - TEXT_HEIGHT / 2 / whole, f'{seconds:.2f} s', ha='center', va='center', size=8
        )
    return figure


def _draw_audio(found: Explanation) -> Figure:
    seen = found.seen
    values = seen.item['inputs']['audio'][0, 0].numpy()  # (F, T)
    figure = Figure(figsize=(WIDTH, 2 * AUDIO_HEIGHT + 0.5), layout='constrained')
    above, below = figure.subplots(2, sharex=True)
    for axes, cam in ((above, None), (below, found.maps['audio'][0].numpy())):
        draw_spectrogram(axes, values, cam, axes_of=seen.sound, start=seen.start, small=True)
    above.set_xlabel('')
    return figure
