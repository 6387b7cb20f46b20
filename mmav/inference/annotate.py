"""Copies of files with the predictions drawn on their frames."""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmav.datasets.media import files_of
from mmav.errors import MediaError, OutputError
from mmav.inference.sources import Source
from mmav.outputs import check_folder, check_own, folded, same_file

LONG_AUDIO = 120.0  # seconds


def annotate(
    sources: Sequence[Source],
    results: Sequence[dict[str, Any]],
    out_dir: str | os.PathLike[str],
    *,
    progress: bool = False,
) -> list[str]:
    """Writes a copy of each file, with its audio, that shows the predictions of the moment on its frames.

    Args:
        sources: The clips; arrays, and files without a prediction, are skipped.
        results: Their results from :class:`mmav.apis.AVInferencer`, each of which gets its copy's path as ``video``.
        out_dir: Folder; created if it is missing.
        progress: Whether to show a progress bar.

    Returns:
        The files written; a file whose video cannot be read to its end is named in the log.

    Raises:
        OutputError: See :func:`plan_copies`.
        MediaError: A copy cannot be written.
    """
    from mmav.visualization.annotated_video import write_annotated_video
    from mmav.visualization.captions import draw_captions, predictions_at, reached_at, span_at

    names = plan_copies(sources, out_dir)
    written: list[str] = []
    for source, result, out in zip(sources, results, names, strict=True):
        if source.arrays is not None or not result['windows']:
            continue

        def draw(frame: np.ndarray, seconds: float, windows: Any = result['windows']) -> np.ndarray:
            heading = span_at(windows, seconds) if len(windows) > 1 else ''
            strong = reached_at(windows, seconds)
            return draw_captions(frame, predictions_at(windows, seconds), heading=heading, strong=strong)

        # without video the frames are drawn, which costs time: for long audio a few a second are enough
        canvas_fps = 25.0 if result['duration'] <= LONG_AUDIO else 5.0
        try:
            write_annotated_video(source.path, out, draw, canvas_fps=canvas_fps, progress=progress)
        except MediaError as error:
            if error.path not in (source.path, *files_of(source.path)):
                raise
            # one damaged file must not cost the results of the others
            print_log(f'no annotated copy of {error}', 'current', level=logging.WARNING)
            continue
        result['video'] = out
        written.append(out)
    return written


def plan_copies(sources: Sequence[Source], out_dir: str | os.PathLike[str]) -> list[str]:
    """Names the copies before anything is computed: all different, and none in the place of a file that is not ours.

    Args:
        sources: The clips.
        out_dir: Folder of the copies.

    Returns:
        The path of each clip's copy; empty for arrays.

    Raises:
        OutputError: A copy would replace a clip, or another file that was not written so, or cannot be written.
    """
    paths = [file for source in sources if source.arrays is None for file in files_of(source.path)]
    check_folder(out_dir)
    names: list[str] = []
    taken: set[str] = set()
    for source in sources:
        if source.arrays is not None:
            names.append('')
            continue
        names.append(free_name(Path(out_dir), Path(files_of(source.path)[0]).stem.strip('<>'), taken))
        taken.add(folded(names[-1]))
        if os.path.lexists(names[-1]):
            for path in paths:
                if same_file(names[-1], path):
                    raise OutputError(
                        f"the annotated copy of '{source.path}' would replace '{path}': give another folder for copies"
                    )
            check_own(names[-1], remedy='give another folder for copies')
    return names


def free_name(folder: Path, stem: str, taken: Container[str]) -> str:
    """A file name in a folder that is not taken, see :func:`mmav.outputs.folded`.

    >>> free_name(Path('out'), 'A', {folded('out/a.mp4')})
    'out/A_2.mp4'
    """
    name, count = folder / f'{stem}.mp4', 1
    while folded(name) in taken:
        count += 1
        name = folder / f'{stem}_{count}.mp4'
    return str(name)
