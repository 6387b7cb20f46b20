"""Reads uploaded clips in a process of its own, which a hostile file can crash or fill without harm to the server.

The process has limits on memory, writes no files, and sends back numbers and plain text only: whoever took it over
through a decoder could not send the server anything that is executed there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.registry import init_default_scope

# imported for the fork server, which then has what a pipeline needs
from mmav.datasets.media import files_of
from mmav.errors import ConfigError, MediaError
from mmav.inference.reading import read_span
from mmav.inference.sources import Source
from mmav.inference.windows import windows_of
from mmav.parallel import settle_worker
from mmav.structures import AVDataSample

LARGEST_MESSAGE = 2**16  # bytes of a message's text
_TYPES = ('uint8', 'float32')
_STATM = Path('/proc/self/statm')


class ClipJob(NamedTuple):
    """A clip that is to be read.

    Attributes:
        path: A file, or a :class:`~mmav.datasets.media.PairPath`.
        window: Seconds that the model looks at in one piece; None for one window over everything.
        stride: Most seconds from the start of one window to the next; None for the window's length.
        drop: Modalities that are withheld.
    """

    path: str
    window: float | None = None
    stride: float | None = None
    drop: tuple[str, ...] = ()


class ReaderSettings(NamedTuple):
    """What a reading process needs: the test pipeline, the model's modalities, and limits, see ServeLimits."""

    pipeline: Any
    modalities: Sequence[str]
    seconds: float
    windows: int
    megabytes: int


def serve_jobs(settings: ReaderSettings, connection: Connection) -> None:
    """Reads clips one after another until the other end is closed; the body of a reading process.

    Args:
        settings: The pipeline and its limits.
        connection: Gives :class:`ClipJob`, takes what :func:`receive` understands.
    """
    import signal

    settle_worker()
    # the server ends this process, once its last request has an answer
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    init_default_scope('mmav')
    confine(settings.megabytes)
    _send(connection, dict(kind='ready'))
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        for message, arrays in read_job(job, settings):
            _send(connection, message, arrays)


def confine(megabytes: int) -> None:
    """Limits this process to so much more memory than it has now, and forbids it to write files and core dumps."""
    try:
        import resource
    except ImportError:  # on Windows
        return
    if _STATM.is_file():
        most = int(_STATM.read_text().split()[0]) * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for name in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(name, (0, 0))


def read_job(job: ClipJob, settings: ReaderSettings) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Reads a clip window by window.

    Yields:
        Messages, and the arrays that belong to them: ``clip`` with its ``duration`` and its number of ``windows``; for
        each window ``window`` with ``start``, ``end`` and ``masks``, and the model's inputs, or ``skipped`` with the
        ``reason``; ``end``. Or ``refused``, with ``code`` and ``reason``.
    """
    try:
        yield from _windows(job, settings)
        yield dict(kind='end'), {}
    except MediaError as error:
        yield _refused('unreadable_clip', _public(error.reason, job)), {}
    except _TooLong as error:
        yield _refused('clip_too_long', str(error)), {}
    except ConfigError as error:
        yield _refused('invalid_option', str(error)), {}


class _TooLong(Exception):
    pass


def _windows(job: ClipJob, settings: ReaderSettings) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    source = Source(job.path)
    with _OnlyMediaErrors(job), source.open() as reader:
        duration = reader.info.duration
    if not duration <= settings.seconds:
        raise _TooLong(f'is {duration:.1f} s long; {settings.seconds:g} s at most are taken')
    step = job.stride or job.window
    # before any window is placed: a tiny stride would ask for billions
    if step and duration / step > settings.windows:
        raise _TooLong(f'has more than {settings.windows:,} windows; give a longer stride or window')
    with _OnlyMediaErrors(job):
        duration, spans = windows_of(source, job.window, job.stride, max_windows=settings.windows + 2)
    yield dict(kind='clip', duration=duration, windows=len(spans)), {}
    for start, end in spans if len(spans) > 1 else [(None, None)]:
        try:
            with _OnlyMediaErrors(job):
                item = read_span(settings.pipeline, source, settings.modalities, start=start, end=end, drop=job.drop)
        except MediaError as error:
            yield dict(kind='skipped', start=start, end=end, reason=_public(error.reason, job)), {}
            continue
        sample, masks = item['data_samples'], {name: bool(mask) for name, mask in item['masks'].items()}
        told = dict(kind='window', start=float(sample.start), end=float(sample.end), masks=masks)
        yield told, {name: np.ascontiguousarray(value) for name, value in item['inputs'].items()}


class _OnlyMediaErrors:
    """Turns whatever a library raises over a hostile file into a MediaError, and logs what it was."""

    def __init__(self, job: ClipJob) -> None:
        self.path = job.path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, Exception) or isinstance(error, (MediaError, ConfigError)):
            return
        if isinstance(error, MemoryError) or 'memory' in str(error).lower():
            raise MediaError(self.path, 'needs more memory than a clip may take') from error
        logging.getLogger('mmav').warning('a clip could not be read: %s', type(error).__name__, exc_info=error)
        raise MediaError(self.path, 'cannot be read') from error


def _refused(code: str, reason: str) -> dict[str, Any]:
    return dict(kind='refused', code=code, reason=reason)


def _public(reason: str, job: ClipJob) -> str:
    """The reason without names of files and folders of this machine."""
    for path in files_of(job.path):
        reason = reason.replace(path, 'the file')
        folder = os.path.dirname(path)
        reason = reason.replace(folder, '') if folder.strip('/') else reason
    return ' '.join(reason.split())[:500]


# Messages


def _send(connection: Connection, message: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    arrays = arrays or {}
    shapes = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    with suppress(BrokenPipeError):  # the server has ended; so will this process
        connection.send_bytes(json.dumps(dict(message, arrays=shapes)).encode())
        for array in arrays.values():
            connection.send_bytes(memoryview(array.data).cast('B'))


def receive(connection: Connection, *, most: int) -> dict[str, Any]:
    """Takes a message of a reading process.

    Args:
        connection: To the process.
        most: Bytes that its arrays may have.

    Returns:
        The message of :func:`read_job`; that of a ``window`` has its ``item``, as a test pipeline gives it.

    Raises:
        EOFError: The process has ended.
        OSError: The connection is broken, or a message too large.
        ValueError: It is no message.
    """
    message = json.loads(connection.recv_bytes(LARGEST_MESSAGE))
    if not isinstance(message, dict) or not isinstance(message.get('arrays'), list):
        raise ValueError('no message')
    inputs = {}
    for name, kind, shape in message.pop('arrays'):
        if kind not in _TYPES or not all(isinstance(size, int) and size > 0 for size in shape):
            raise ValueError(f'an array of {kind}, {shape}')
        data = bytearray(connection.recv_bytes(most))
        inputs[name] = torch.from_numpy(np.frombuffer(data, kind).reshape(shape))
    if message.get('kind') == 'window':
        sample = AVDataSample(
            metainfo=dict(path='', start=message['start'], end=message['end'], sample_idx=0, broken=None)
        )
        masks = {name: torch.tensor(bool(there)) for name, there in message['masks'].items()}
        message['item'] = dict(inputs=inputs, masks=masks, data_samples=sample)
    return message
