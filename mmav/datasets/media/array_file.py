"""Files of arrays: .npy, .npz and .safetensors with frames or samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, load_file

from mmav.datasets.media.array_reader import ArrayReader
from mmav.datasets.media.stored_file import StoredFile, open_binary
from mmav.errors import MediaError, MissingMediaError

SUFFIXES = ('.npy', '.npz', '.safetensors')
RATES = dict(video='fps', audio='sample_rate')


def read_array_file(path: str, kind: str, rate: float | None) -> ArrayReader:
    """Opens a file of arrays.

    Args:
        path: An .npy file with the array; or an .npz or .safetensors file with an array called ``video`` or ``audio``,
            and a number called ``fps`` or ``sample_rate``. Shapes are those of
            :class:`mmav.datasets.media.array_reader.ArrayReader`.
        kind: 'video' or 'audio'.
        rate: Frames or samples per second; None to take that of the file.

    Raises:
        MediaError: The file cannot be read, has no such array, or no rate is known.
    """
    name = RATES[kind]
    try:
        arrays = _LOAD[os.path.splitext(path)[1].lower()](path)
    except FileNotFoundError:
        raise MissingMediaError(path) from None
    except (OSError, ValueError, EOFError, SafetensorError) as error:
        raise MediaError(path, f'is not a file of arrays: {str(error).splitlines()[0]}') from error
    if isinstance(arrays, np.ndarray):
        arrays = {kind: arrays}
    if kind not in arrays:
        raise MediaError(path, f'has no array {kind!r}, only {", ".join(map(repr, arrays))}')
    if rate is None and name in arrays:
        rate = float(np.asarray(arrays[name]).reshape(-1)[0])
    if rate is None:
        raise MediaError(path, f'{kind} needs its {name}: give it in a column {name} of the manifest')
    own: Any = {kind: arrays[kind], name: rate if kind == 'video' else round(rate)}
    return ArrayReader(**own, name=path)


def _load_npy(path: str) -> np.ndarray:
    if isinstance(path, StoredFile):
        return np.load(open_binary(path), allow_pickle=False)
    # Only the frames that are used are read.
    return np.load(path, mmap_mode='r', allow_pickle=False)


def _load_npz(path: str) -> dict[str, np.ndarray]:
    with open_binary(path) as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _load_safetensors(path: str) -> dict[str, np.ndarray]:
    return load(path.read()) if isinstance(path, StoredFile) else load_file(path)


_LOAD: dict[str, Callable[[str], Any]] = {
    '.npy': _load_npy,
    '.npz': _load_npz,
    '.safetensors': _load_safetensors,
}
