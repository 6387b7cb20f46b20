"""Inputs of an inferencer: paths, folders, bytes, file objects, and arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from mmav.datasets.media import ArrayReader, BytesFile, MediaReader, PairPath, StoredFile, open_media
from mmav.errors import MediaError, MmavError, did_you_mean
from mmav.outputs import ANNOTATED, names_of_kind
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES
from mmav.structures import MODALITIES

ARRAY_KEYS = ('video', 'fps', 'audio', 'sample_rate')
# what a file object may hold that has to be read into memory
MOST_BYTES = 2**31
_CHUNK = 2**24
_UNNAMED = '<bytes {}>'


class Source(NamedTuple):
    """One clip: a file or its bytes, a pair of files, arrays as :class:`mmav.datasets.media.ArrayReader` takes them, or
    what a reader reads."""

    path: str
    arrays: dict[str, Any] | None = None
    reader: MediaReader | None = None

    @property
    def in_memory(self) -> bool:
        """Whether it is no file, nor the bytes of one."""
        return self.arrays is not None or self.reader is not None

    def open(self) -> MediaReader:
        """Opens it.

        Raises:
            MediaError: It cannot be opened, or holds neither video nor audio.
        """
        if self.reader is not None:
            return self.reader
        return open_media(self.path) if self.arrays is None else ArrayReader(**self.arrays, name=self.path)


def list_sources(inputs: Any) -> list[Source]:
    """Lists the clips in a user's input.

    Args:
        inputs: A path; a folder, which stands for the media files in it and its subfolders, sorted, without annotated
            copies that we wrote; a dict of arrays, ``video`` (T, H, W, 3) uint8 RGB with ``fps``, ``audio`` (S,) or
            (C, S) with ``sample_rate``, or both; a dict of files, ``video`` and ``audio``, as the columns of a manifest
            name them; the bytes of a media file, or an object to read them from, in binary mode: one that is not an
            open file at its start is read into memory, from where it stands to its end, up to :data:`MOST_BYTES`; or a
            list of any of these.

    Raises:
        MmavError: There are none, or something is of another kind.
    """
    if isinstance(inputs, Source):
        return [inputs]
    if isinstance(inputs, StoredFile):
        return [Source(inputs)]
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise MmavError('there is nothing to classify: the list of inputs is empty')
        sources = [source for each in inputs for source in list_sources(each)]
        return [_numbered(source, k) for k, source in enumerate(sources)]
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        return [Source(BytesFile(_UNNAMED.format(0), bytes(inputs)))]
    if callable(getattr(inputs, 'read', None)):
        return [_file_object(inputs)]
    if isinstance(inputs, (str, os.PathLike)):
        path = os.path.expanduser(os.fspath(inputs))
        return _folder(path) if os.path.isdir(path) else [Source(path)]
    if isinstance(inputs, Mapping):
        return [_arrays(inputs)]
    raise MmavError(
        f'cannot classify a {type(inputs).__name__}: give a path, a folder, bytes, a list of them, or arrays as '
        'dict(video=(T, H, W, 3) uint8, fps=..., audio=(S,), sample_rate=...)'
    )


def _numbered(source: Source, k: int) -> Source:
    """A nameless source named by its place in a list."""
    if source.arrays is not None:
        return source._replace(path=f'<arrays {k}>')
    if isinstance(source.path, BytesFile) and source.path == _UNNAMED.format(0):
        return source._replace(path=BytesFile(_UNNAMED.format(k), source.path.data))
    return source


def _file_object(file: Any) -> Source:
    name = getattr(file, 'name', None)
    name = os.fsdecode(name) if isinstance(name, (str, bytes)) and name else _UNNAMED.format(0)
    if _is_that_file(file, name):
        return Source(name)
    pieces, size = [], 0
    try:
        while piece := file.read(_CHUNK):
            if isinstance(piece, str):
                raise MediaError(name, "is open as text: open it in binary mode, open(path, 'rb')")
            pieces.append(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise MediaError(
                    name, f'holds more than the {MOST_BYTES:,} bytes that are read into memory: give a path'
                )
    except (OSError, ValueError) as error:
        raise MediaError(name, f'cannot be read: {getattr(error, "strerror", None) or error}') from error
    return Source(BytesFile(name, b''.join(pieces)))


def _is_that_file(file: Any, name: str) -> bool:
    """Whether an object is an open file of this machine, at its start, which need not be held in memory."""
    try:
        mode = getattr(file, 'mode', '')
        return (
            isinstance(mode, str)
            and 'b' in mode
            and file.tell() == 0
            and os.path.isfile(name)
            and os.path.samestat(os.fstat(file.fileno()), os.stat(name))
        )
    except (OSError, ValueError, AttributeError):
        return False


def _folder(path: str) -> list[Source]:
    found = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        # annotated copies of an earlier run are not clips
        for name in sorted({*names} - names_of_kind(folder, ANNOTATED))
        if os.path.splitext(name)[1].lower() in SUFFIXES | AUDIO_SUFFIXES and not name.startswith('.')
    ]
    if not found:
        raise MmavError(f"no media files in '{path}', such as {', '.join(sorted(SUFFIXES | AUDIO_SUFFIXES)[:6])}, ...")
    return [Source(name) for name in sorted(found)]


def _arrays(inputs: Mapping[str, Any]) -> Source:
    for key in inputs:
        if key not in ARRAY_KEYS:
            raise MmavError(f'arrays have no {key!r}, only {", ".join(ARRAY_KEYS)}{did_you_mean(key, ARRAY_KEYS)}')
    files = {key: os.fspath(inputs[key]) for key in MODALITIES if isinstance(inputs.get(key), (str, os.PathLike))}
    if files:
        other = [key for key in MODALITIES if key not in files and inputs.get(key) is not None]
        if other:
            raise MmavError(f'{next(iter(files))} is a file and {other[0]} is an array: give two files or two arrays')
        video, audio = (os.path.expanduser(files.get(key, '')) for key in MODALITIES)
        return Source(PairPath(video, audio, fps=inputs.get('fps'), sample_rate=inputs.get('sample_rate')))
    arrays = {key: np.asarray(value.cpu()) if isinstance(value, Tensor) else value for key, value in inputs.items()}
    return Source('<arrays>', arrays)
