"""Media readers behind one interface: PyAV (the default), decord (video only), arrays, and pairs of files."""

from __future__ import annotations

from typing import TypeVar

from mmav.datasets.media.array_reader import ArrayReader
from mmav.datasets.media.decord_reader import DecordReader
from mmav.datasets.media.opening import Limits
from mmav.datasets.media.pair_path import PairPath, files_of
from mmav.datasets.media.pair_reader import PairReader
from mmav.datasets.media.reader import MediaInfo, MediaReader, PyAVReader
from mmav.datasets.media.stored_file import BytesFile, StoredFile
from mmav.datasets.media.streaming import StreamReader
from mmav.errors import did_you_mean

_File = TypeVar('_File', bound=PyAVReader)
READERS: dict[str, type[PyAVReader]] = {'pyav': PyAVReader, 'decord': DecordReader}


def check_backend(backend: str) -> None:
    """Refuses a reader that does not exist.

    Raises:
        ValueError: There is no such reader.
    """
    if backend not in READERS:
        raise ValueError(f'no media reader {backend!r}: choose {" or ".join(READERS)}{did_you_mean(backend, READERS)}')


def open_media(path: str, *, backend: str = 'pyav', threads: int = 1, limits: Limits | None = None) -> MediaReader:
    """Opens a clip for reading.

    Args:
        path: A media file, a :class:`~mmav.datasets.media.pair_path.PairPath` or a
            :class:`~mmav.datasets.media.stored_file.StoredFile`.
        backend: A name in ``READERS``.
        threads: Threads of the video decoder; 1 is best for a data loader with a worker per core.
        limits: Limits on what reading the file may cost; None for the defaults.

    Raises:
        MediaError: The file cannot be opened, exceeds a limit, or holds neither video nor audio.
        ValueError: There is no such reader.
    """
    check_backend(backend)
    return _opened(READERS[backend], path, threads=threads, limits=limits)


def open_stream(path: str, *, threads: int = 1, limits: Limits | None = None) -> StreamReader | PairReader:
    """Opens a clip for reading from start to end.

    Args:
        path: A media file, a :class:`~mmav.datasets.media.pair_path.PairPath` or a
            :class:`~mmav.datasets.media.stored_file.StoredFile`.
        threads: Threads of the video decoder.
        limits: Limits on what reading the file may cost; None for the defaults.

    Raises:
        MediaError: It cannot be opened.
    """
    return _opened(StreamReader, path, threads=threads, limits=limits)


def _opened(kind: type[_File], path: str, *, threads: int, limits: Limits | None) -> _File | PairReader:
    if not isinstance(path, PairPath):
        return kind(path, threads=threads, limits=limits)

    def open_track(file: str, modality: str) -> PyAVReader:
        return kind(file, threads=threads, limits=limits, tracks=(modality,))

    return PairReader(path, open_track, limits=limits)


__all__ = [
    'READERS',
    'ArrayReader',
    'BytesFile',
    'Limits',
    'MediaInfo',
    'MediaReader',
    'PairPath',
    'PairReader',
    'StoredFile',
    'StreamReader',
    'check_backend',
    'files_of',
    'open_media',
    'open_stream',
]
