"""Media readers behind one interface: PyAV (the default), decord and torchcodec (video), arrays, and pairs of files."""

from __future__ import annotations

from typing import Any, TypeVar

from mmav.datasets.media.array_reader import ArrayReader
from mmav.datasets.media.decord_reader import DecordReader
from mmav.datasets.media.opening import Limits
from mmav.datasets.media.pair_path import PairPath, files_of
from mmav.datasets.media.pair_reader import PairReader
from mmav.datasets.media.reader import MediaInfo, MediaReader, PyAVReader
from mmav.datasets.media.stored_file import BytesFile, StoredFile
from mmav.datasets.media.streaming import StreamReader
from mmav.datasets.media.torchcodec_library import check_decode_device, load_torchcodec
from mmav.datasets.media.torchcodec_reader import TorchCodecReader
from mmav.errors import ConfigError, did_you_mean

_File = TypeVar('_File', bound=PyAVReader)
READERS: dict[str, type[PyAVReader]] = {'pyav': PyAVReader, 'decord': DecordReader, 'torchcodec': TorchCodecReader}


def check_backend(backend: str) -> None:
    """Refuses a reader that does not exist.

    Raises:
        ValueError: There is no such reader.
    """
    if backend not in READERS:
        raise ValueError(f'no media reader {backend!r}: choose {" or ".join(READERS)}{did_you_mean(backend, READERS)}')


def decoding_options(backend: str, decode_device: str, gpu_pixels: int | None) -> dict[str, Any]:
    """Arguments of a reader beyond those that all take.

    Args:
        backend: A name in ``READERS``.
        decode_device: 'cpu', or 'cuda' with torchcodec.
        gpu_pixels: Frames of at least so many pixels are decoded on that device; None for the reader's own number.

    Raises:
        ConfigError: They do not go together, or there is no such device; or torchcodec is asked for and missing.
    """
    if backend == 'torchcodec':
        load_torchcodec()
    if decode_device == 'cpu':
        if gpu_pixels is not None:
            raise ConfigError(f"gpu_pixels={gpu_pixels} has no effect without decode_device='cuda': leave it out")
        return {}
    if backend != 'torchcodec':
        raise ConfigError(f"decode_device={decode_device!r} needs backend='torchcodec', not {backend!r}")
    if gpu_pixels is not None and gpu_pixels < 0:
        raise ConfigError(f'gpu_pixels must be 0 or more, got {gpu_pixels}')
    check_decode_device(decode_device)
    return dict(decode_device=decode_device, gpu_pixels=gpu_pixels)


def open_media(
    path: str,
    *,
    backend: str = 'pyav',
    threads: int = 1,
    limits: Limits | None = None,
    decode_device: str = 'cpu',
    gpu_pixels: int | None = None,
) -> MediaReader:
    """Opens a clip for reading.

    Args:
        path: A media file, a :class:`~mmav.datasets.media.pair_path.PairPath` or a
            :class:`~mmav.datasets.media.stored_file.StoredFile`.
        backend: A name in ``READERS``.
        threads: Threads of the video decoder; 1 is best for a data loader with a worker per core.
        limits: Limits on what reading the file may cost; None for the defaults.
        decode_device: 'cpu', or 'cuda' to decode large frames by NVDEC, with torchcodec only.
        gpu_pixels: Frames of fewer pixels are decoded on the CPU all the same; None for 1920 x 1080.

    Raises:
        MediaError: The file cannot be opened, exceeds a limit, or holds neither video nor audio.
        ValueError: There is no such reader; a ConfigError if it is not installed, or cannot use the device.
    """
    check_backend(backend)
    options = decoding_options(backend, decode_device, gpu_pixels)
    return _opened(READERS[backend], path, threads=threads, limits=limits, **options)


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


def _opened(kind: type[_File], path: str, **options: Any) -> _File | PairReader:
    if not isinstance(path, PairPath):
        return kind(path, **options)

    def open_track(file: str, modality: str) -> PyAVReader:
        return kind(file, tracks=(modality,), **options)

    return PairReader(path, open_track, limits=options['limits'])


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
    'decoding_options',
    'files_of',
    'open_media',
    'open_stream',
]
