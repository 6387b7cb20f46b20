"""The file of a decoded clip: frames one after another, then everything else in one block, each with a checksum.

Frames are written as they are decoded and read singly, so neither a long clip nor many of them have to be held in
memory. A file that was cut short or damaged is recognised and taken for missing.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mmav.files import written_whole

# At the end of the file: length and checksum of the block of notes and arrays, and what kind of file this is.
_TAIL = struct.Struct('<QI8s')
_MAGIC = b'mmavclip'
_NOTES, _CHECKSUMS = '_notes', '_checksums'


class DamagedClip(Exception):
    """A stored clip whose bytes are not those that were written."""


class ClipWriter:
    """Writes a stored clip; see :func:`write_clip`.

    Attributes:
        notes: What JSON can hold.
        arrays: Small arrays, by name.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.notes: dict[str, Any] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self._file = file
        self._shape: tuple[int, ...] = (0, 0, 3)
        self._checksums: list[int] = []

    def add(self, frame: np.ndarray) -> None:
        """Appends a frame (H, W, 3) uint8.

        Raises:
            ValueError: The ones before have another size.
        """
        if self._checksums and frame.shape != self._shape:
            raise ValueError(f'a frame of shape {frame.shape} after frames of {self._shape}')
        self._shape = frame.shape
        data = np.ascontiguousarray(frame).data
        self._checksums.append(zlib.crc32(data))
        self._file.write(data)

    def finish(self) -> None:
        """Writes the notes and arrays."""
        notes = json.dumps(dict(self.notes, _shape=self._shape)).encode()
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        arrays[_NOTES] = np.frombuffer(notes, np.uint8)
        arrays[_CHECKSUMS] = np.array(self._checksums, np.uint32)
        block = save(arrays)
        self._file.write(block)
        self._file.write(_TAIL.pack(len(block), zlib.crc32(block), _MAGIC))


@contextmanager
def write_clip(path: str | os.PathLike[str]) -> Iterator[ClipWriter]:
    """Writes a stored clip whole or, if the body fails, not at all.

    Raises:
        OSError: It cannot be written.
    """
    with written_whole(path) as part, open(part, 'wb') as file:
        writer = ClipWriter(file)
        yield writer
        writer.finish()


class StoredClip:
    """A stored clip, opened.

    Args:
        path: Its file.

    Raises:
        FileNotFoundError: There is none.
        DamagedClip: The file is not whole.

    Attributes:
        size: Bytes of the file.
        notes: What JSON can hold.
        arrays: Small arrays, by name; not writable.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = os.open(path, os.O_RDONLY)
        try:
            self.size = os.fstat(self._file).st_size
            length, checksum, magic = _TAIL.unpack(self._bytes(max(0, self.size - _TAIL.size), _TAIL.size))
            if magic != _MAGIC or length > self.size - _TAIL.size:
                raise DamagedClip(f'{path} is not a stored clip')
            self._frames_end = self.size - _TAIL.size - length
            block = self._bytes(self._frames_end, length)
            if zlib.crc32(block) != checksum:
                raise DamagedClip(f'{path} is damaged')
            arrays: Mapping[str, np.ndarray] = load(bytes(block))
        except (SafetensorError, struct.error, OSError) as error:
            self.close()
            raise DamagedClip(f'{path} cannot be read: {error}') from error
        except BaseException:
            self.close()
            raise
        self.notes = json.loads(bytes(arrays[_NOTES]))
        self.arrays = {name: array for name, array in arrays.items() if name not in (_NOTES, _CHECKSUMS)}
        self._shape, self._checksums = tuple(self.notes.pop('_shape')), arrays[_CHECKSUMS]

    def frames(self, places: Sequence[int] | np.ndarray) -> np.ndarray:
        """Reads frames.

        Args:
            places: Which (M,), in any order, also repeatedly.

        Returns:
            Frames (M, H, W, 3) uint8.

        Raises:
            DamagedClip: Their bytes are not those that were written.
        """
        frames = np.empty((len(places), *self._shape), np.uint8)
        first: dict[int, int] = {}
        for k, place in enumerate(np.asarray(places).tolist()):
            if place in first:
                frames[k] = frames[first[place]]
                continue
            first[place] = k
            try:
                read = os.preadv(self._file, [frames[k].data], place * frames[k].nbytes)
            except OSError as error:
                raise DamagedClip(f'a stored frame cannot be read: {error}') from error
            if read != frames[k].nbytes or zlib.crc32(frames[k]) != self._checksums[place]:
                raise DamagedClip('a stored frame is damaged')
        return frames

    def close(self) -> None:
        """Closes the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _bytes(self, start: int, length: int) -> bytes:
        data = os.pread(self._file, length, start)
        if len(data) != length:
            raise DamagedClip('a stored clip is cut short')
        return data
