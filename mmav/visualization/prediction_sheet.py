"""A picture of predictions: the frames and spectrogram of each clip, and the model's most probable classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from mmav.class_names import label_set
from mmav.errors import MmavError
from mmav.evaluation.predictions import clip_key
from mmav.visualization.figures import save_figure, short

Row = TypeVar('Row')
_TITLE = 90  # most characters of the true classes in a title
RIGHT, WRONG, OTHER = '#2e8b57', '#c0392b', '#9aa5b1'


def pick_rows(rows: Sequence[Row], num: int) -> list[Row]:
    """Picks clips evenly from the whole list, as manifests may be sorted by class.

    >>> [row['i'] for row in pick_rows([dict(i=i) for i in range(10)], 3)]
    [0, 4, 9]
    """
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(num, len(rows))).astype(int))]


def frame_strip(video: Tensor, num_frames: int) -> np.ndarray:
    """Lays frames of a clip side by side.

    Args:
        video: (V, 3, T, H, W), uint8 or any floats; the first view is shown.
        num_frames: How many of the T frames, evenly spread.

    Returns:
        (H, num_frames * W, 3) uint8.
    """
    frames = video[0].permute(1, 2, 3, 0).numpy()
    chosen = frames[np.linspace(0, len(frames) - 1, num_frames).round().astype(int)]
    if chosen.dtype != np.uint8:
        low, high = chosen.min(), chosen.max()
        chosen = ((chosen - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    return np.concatenate(list(chosen), axis=1)


def draw_prediction_sheet(
    rows: Sequence[dict],
    inputs: Sequence[Mapping[str, Tensor]],
    out_file: str | Path,
    *,
    classes: Sequence[str] | None = None,
    num_frames: int = 6,
    topk: int = 3,
    thresholds: float | np.ndarray = 0.5,
) -> None:
    """Draws one line per clip: frames, spectrogram, likely classes.

    Green is the true class, red a wrong first guess. Where clips have any number of labels, green are all of its
    classes, and red are other classes that reach their threshold; the title is green if those that do are its classes.
    Without labels nothing is.

    Args:
        rows: Predictions of one part, ``label``, see :func:`mmav.evaluation.actions.as_actions`.
        inputs: The model's inputs for the same clips: ``video`` (V, 3, T, H, W), ``audio`` (V, 1, F, T), or one of
            them.
        out_file: The picture; its suffix tells the format.
        classes: Names of the classes; defaults to their numbers.
        num_frames: Frames in a strip.
        topk: Predictions shown.
        thresholds: From which probability on a clip has a class, where it may have any number; one, or one a class
            (C,).

    Raises:
        MmavError: There is nothing to draw.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise MmavError('there are no predictions to draw')
    modalities = [name for name in ('video', 'audio') if name in inputs[0]]
    widths = [{'video': 4.5, 'audio': 2.0}[name] for name in modalities] + [2.2]
    figure = Figure(figsize=(1.45 * sum(widths), 1.25 * len(rows) + 0.3))
    grid: dict[str, Any] = dict(width_ratios=widths, wspace=0.03, hspace=0.5)
    axes = figure.subplots(len(rows), len(widths), squeeze=False, gridspec_kw=grid)
    for line, row, seen in zip(axes, rows, inputs, strict=True):
        scores = row['scores']['label']
        names = classes or [str(i) for i in range(len(scores))]
        for axis, modality in zip(line, modalities, strict=False):
            axis.set_axis_off()
            if modality == 'video':
                axis.imshow(frame_strip(seen['video'], num_frames))
            else:
                axis.imshow(seen['audio'][0, 0].numpy(), origin='lower', aspect='auto', cmap='magma')
        true, wrong, right = _judge(row['label'].get('label'), scores, thresholds)
        told = label_set(names[index] for index in true or ()) or 'no label' * (true is not None)
        title = short(f'{told}  ', _TITLE) + f'({Path(row["path"]).name})'
        title += '  cannot be read' * (row['broken'] is not None)
        colour = 'black' if right is None else RIGHT if right and row['broken'] is None else WRONG
        line[0].set_title(title.strip(), loc='left', fontsize=8, color=colour)
        _bars(
            line[-1],
            scores,
            names=names,
            topk=topk,
            colours={**dict.fromkeys(wrong, WRONG), **dict.fromkeys(true or (), RIGHT)},
        )
    save_figure(figure, out_file, dpi=110, bbox_inches='tight')


def _judge(
    label: int | tuple[int, ...] | None, scores: np.ndarray, thresholds: float | np.ndarray
) -> tuple[tuple[int, ...] | None, tuple[int, ...], bool | None]:
    """The true classes, the wrongly predicted ones, and whether all is right; None of what is not known."""
    first = int(np.argmax(scores))
    if label is None:
        return None, (), None
    if not isinstance(label, tuple):
        return (label,), () if first == label else (first,), first == label
    said = set(np.flatnonzero(scores >= thresholds).tolist())
    return label, tuple(sorted(said - set(label))), said == set(label)


def _bars(axis: Any, scores: np.ndarray, *, names: Sequence[str], topk: int, colours: Mapping[int, str]) -> None:
    best = np.argsort(-scores, kind='stable')[:topk]
    for place, index in enumerate(best.tolist()):
        axis.barh(place, scores[index], color=colours.get(index, OTHER), alpha=0.55, height=0.85)
        axis.text(0.02, place, f'{names[index]}  {scores[index]:.2f}', va='center', fontsize=7)
    axis.set_xlim(0, 1)
    axis.set_ylim(topk - 0.5, -0.5)
    axis.set_axis_off()


def inputs_of(rows: Sequence[dict], dataset: Any) -> list[Mapping[str, Tensor]]:
    """Reads the model's inputs for some clips again.

    Args:
        rows: Predictions with ``sample_idx``.
        dataset: The test set that they were made on.

    Raises:
        MmavError: The predictions are of another dataset.
    """
    where = {}  # the dataset may hold a part of the manifest's rows
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        where[info['sample_idx'], Path(info['path']).name] = index
    strange = [row for row in rows if clip_key(row) not in where]
    if strange:
        raise MmavError(
            f"the predictions are not of this config's test set: it has no {strange[0]['path']} in row "
            f'{strange[0]["sample_idx"]} (from 0); give the config and --data-root that they were made with'
        )
    return [dataset[where[clip_key(row)]]['inputs'] for row in rows]
