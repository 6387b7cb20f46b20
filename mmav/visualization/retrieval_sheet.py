"""A sheet of clips and what they retrieved in another modality."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmav.datasets.media import open_media
from mmav.errors import MmavError
from mmav.evaluation.feature_splits import Split
from mmav.evaluation.predictions import Classes
from mmav.evaluation.retrieval import directions, nearest, shared_space
from mmav.visualization.figures import check_picture_name, save_figure, short
from mmav.visualization.prediction_sheet import OTHER, RIGHT, WRONG, pick_rows

_SIDE = 160  # pixels of a tile
_COLOURS = {'query': '#444444', 'clip': RIGHT, 'class': OTHER, 'other': WRONG}


class Tile(NamedTuple):
    """A clip of a sheet.

    Attributes:
        frame: (H, W, 3) uint8.
        name: Its class.
        mark: ``query``, ``clip`` for the same clip, ``class`` for another of its class, or ``other``.
    """

    frame: np.ndarray
    name: str
    mark: str


def middle_frame(path: str | Path, start: float | None = None, end: float | None = None) -> np.ndarray:
    """The frame in the middle of a span of a file (H, W, 3) uint8, its short side scaled to 160 pixels.

    Raises:
        MediaError: The file cannot be read, or has no video.
    """
    with open_media(str(path)) as reader:
        begin, stop = start or 0.0, reader.info.duration if end is None else end
        begin, stop = reader.fetch(begin, stop)
        return reader.read_frames([(begin + stop) / 2], short_side=_SIDE)[0][0]


def draw_retrieved(lines: Sequence[tuple[str, Sequence[Tile]]], out_file: str | Path) -> None:
    """Draws a line for each query: the query, and what was found, best first.

    The same clip has a green frame, another of its class a grey one, all others a red one.

    Args:
        lines: What the line shows, such as ``audio to video``; the query and what was found.
        out_file: The picture; its suffix tells the format.

    Raises:
        MmavError: There is nothing to draw, or there is no format of the file's suffix.
    """
    from matplotlib.figure import Figure

    check_picture_name(out_file)
    if not lines:
        raise MmavError('there is nothing that was retrieved to draw')
    columns = max(len(tiles) for _, tiles in lines)
    figure = Figure(figsize=(1.35 * columns + 0.3, 1.6 * len(lines) + 0.2), layout='constrained')
    axes = figure.subplots(len(lines), columns, squeeze=False)
    for line, (title, tiles) in zip(axes, lines, strict=True):
        for axis, tile in zip(line, tiles, strict=False):
            axis.imshow(tile.frame)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set(color=_COLOURS[tile.mark], linewidth=3)
            axis.set_title(short(tile.name, 20), fontsize=7, color=_COLOURS[tile.mark])
        line[0].set_ylabel(title, fontsize=8)
        for axis in line[len(tiles) :]:
            axis.set_axis_off()
    save_figure(figure, out_file, dpi=110)


def retrieved_lines(
    split: Split, classes: Classes | None = None, *, data_root: str | Path = '', queries: int = 3, found: int = 5
) -> list[tuple[str, list[Tile]]]:
    """What some clips, spread over the list, retrieved in each direction, see :func:`draw_retrieved`.

    Args:
        split: The clips; they are shown by their middle frames.
        classes: Part of the label -> names of the classes.
        data_root: Folder that the paths of the clips are relative to.
        queries: Queries in each direction.
        found: Clips that each retrieved.

    Raises:
        MediaError: A clip cannot be read.
        MmavError: The features cannot be compared.
    """
    names, _ = shared_space({name: values.shape[1] for name, values in split.features.items()})
    chosen = pick_rows(range(len(split.clips)), queries)
    frames: dict[int, np.ndarray] = {}

    def tile(place: int, query: int | None) -> Tile:
        clip = split.clips[place]
        if place not in frames:
            frames[place] = middle_frame(Path(data_root, clip['path']), clip['start'], clip['end'])
        name = ' '.join(classes[part][label] if classes else str(label) for part, label in clip['label'].items())
        same = query is not None and clip['label'] == split.clips[query]['label']
        mark = 'query' if query is None else 'clip' if place == query else 'class' if same else 'other'
        return Tile(frames[place], name, mark)

    lines = []
    for one, two, direction in directions(names):
        places = nearest(split.features[one][chosen], split.features[two], found)
        for query, row in zip(chosen, places.tolist(), strict=True):
            tiles = [tile(query, None), *(tile(place, query) for place in row)]
            lines.append((direction.replace('_to_', ' to '), tiles))
    return lines
