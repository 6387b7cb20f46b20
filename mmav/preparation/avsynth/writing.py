"""Files of a dataset, which appear whole or not at all."""

import os
from pathlib import Path

import numpy as np

from mmav.preparation.avsynth.encode import encode_mp4


def write_clip(path: Path, frames: np.ndarray, waveform: np.ndarray | None, *, fps: int, sample_rate: int) -> None:
    """Writes a clip unless it is there: a file that has its name is whole, so that none has to be encoded twice.

    Args:
        path: The file.
        frames: As of :func:`~mmav.preparation.avsynth.encode.encode_mp4`, and so are the others.
        waveform: The sound.
        fps: Frames a second.
        sample_rate: Samples a second.
    """
    if not path.exists():
        write_whole(path, encode_mp4(frames, waveform, fps=fps, sample_rate=sample_rate))


def write_list(path: Path, content: bytes) -> None:
    """Writes a list. A dataset always has the same lists, so a different one was changed by its user.

    Raises:
        FileExistsError: There is another list of that name.
    """
    if not path.exists():
        write_whole(path, content)
    elif path.read_bytes() != content:
        raise FileExistsError(
            f'{path} was changed since it was written, and the dataset is not complete: move the file away, then the '
            'same command completes it'
        )


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name first."""
    part = path.with_name(path.name + '.part')
    part.write_bytes(content)
    os.replace(part, path)
