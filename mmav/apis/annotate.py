"""Copies of files with what the model says of them drawn into the picture."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmav.apis.sources import Source
from mmav.errors import MediaError

LONG_SOUND = 120.0  # seconds


def annotate(
    sources: Sequence[Source],
    results: Sequence[dict[str, Any]],
    out_dir: str | os.PathLike[str],
    *,
    progress: bool = False,
) -> list[str]:
    """Writes a copy of each file with the predictions of the moment drawn into its picture, and its sound.

    Args:
        sources: The clips; arrays, and files without a prediction, are passed over.
        results: What :class:`mmav.apis.AVInferencer` says of them; the copy's path becomes ``video`` in each.
        out_dir: Folder, made if need be.
        progress: Whether to show a progress bar.

    Returns:
        The files written; a file whose picture cannot be read to its end is named in the log.

    Raises:
        MediaError: A copy cannot be written.
    """
    from mmav.visualization.annotated_video import write_annotated_video
    from mmav.visualization.captions import draw_captions, predictions_at, span_at

    written: list[str] = []
    for source, result in zip(sources, results, strict=True):
        if source.arrays is not None or not result['windows']:
            continue

        def draw(frame: np.ndarray, seconds: float, windows: Any = result['windows']) -> np.ndarray:
            heading = span_at(windows, seconds) if len(windows) > 1 else ''
            return draw_captions(frame, predictions_at(windows, seconds), heading=heading)

        out = free_name(Path(out_dir), Path(source.path).stem, written)
        # where there is no picture frames are drawn, at a cost: of a long sound few a second will do
        canvas_fps = 25.0 if result['duration'] <= LONG_SOUND else 5.0
        try:
            write_annotated_video(source.path, out, draw, canvas_fps=canvas_fps, progress=progress)
        except MediaError as error:
            if error.path != source.path:
                raise
            # one damaged file must not cost the results of the others
            print_log(f'no annotated copy of {error}', 'current', level=logging.WARNING)
            continue
        result['video'] = out
        written.append(out)
    return written


def free_name(folder: Path, stem: str, taken: Sequence[str]) -> str:
    """A file name in a folder that this run has not written to yet.

    >>> free_name(Path('out'), 'a', ['out/a.mp4'])
    'out/a_2.mp4'
    """
    name, count = folder / f'{stem}.mp4', 1
    while str(name) in taken:
        count += 1
        name = folder / f'{stem}_{count}.mp4'
    return str(name)
