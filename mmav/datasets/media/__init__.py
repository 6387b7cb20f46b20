"""Media readers behind one interface: PyAV (the default), decord (video only), and arrays in memory."""

from __future__ import annotations

from mmav.datasets.media.array_reader import ArrayReader
from mmav.datasets.media.decord_reader import DecordReader
from mmav.datasets.media.opening import Limits
from mmav.datasets.media.reader import MediaInfo, MediaReader, PyAVReader
from mmav.errors import did_you_mean

READERS: dict[str, type[PyAVReader]] = {'pyav': PyAVReader, 'decord': DecordReader}


def check_backend(backend: str) -> None:
    """Refuses a reader that does not exist.

    Raises:
        ValueError: There is no such reader.
    """
    if backend not in READERS:
        raise ValueError(f'no media reader {backend!r}: choose {" or ".join(READERS)}{did_you_mean(backend, READERS)}')


def open_media(path: str, *, backend: str = 'pyav', threads: int = 1, limits: Limits | None = None) -> MediaReader:
    """Opens a media file for reading.

    Args:
        path: The file.
        backend: A name in ``READERS``.
        threads: Threads of the video decoder; 1 is best for a data loader with a worker per core.
        limits: Limits on what reading the file may cost; None for the defaults.

    Raises:
        MediaError: The file cannot be opened, exceeds a limit, or holds neither video nor audio.
        ValueError: There is no such reader.
    """
    check_backend(backend)
    return READERS[backend](path, threads=threads, limits=limits)


__all__ = ['READERS', 'ArrayReader', 'Limits', 'MediaInfo', 'MediaReader', 'check_backend', 'open_media']
