"""What goes wrong through a user's files, configs or checkpoints; tools print it as one line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class MmavError(Exception):
    """A user's mistake or bad input; its text says where it is and what to do."""


class MediaError(MmavError):
    """A media file that is missing, broken, empty or holds nothing that can be decoded.

    Args:
        path: The file.
        reason: Why it cannot be read, in plain words.

    >>> str(MediaError('clip.mp4', 'the file is empty (0 bytes)'))
    'clip.mp4: the file is empty (0 bytes)'
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f'{self.path}: {self.reason}'


class MissingMediaError(MediaError):
    """There is no such media file.

    Args:
        path: The file.
        reason: That it is missing, in plain words.
    """

    def __init__(self, path: str, reason: str = 'no such file') -> None:
        super().__init__(path, reason)


class AbsentError(MediaError):
    """A media file that can be read and has none of the modalities asked for."""


class ManifestError(MmavError):
    """A manifest or class list that is missing or wrong; says file, row and remedy."""


class ConfigError(MmavError, ValueError):
    """A config that names what is not there, or whose parts do not go together; says where, or what to change."""


class CheckpointError(MmavError):
    """A checkpoint that is missing, torn or belongs to another architecture."""


class FeatureError(MmavError):
    """Stored features that are missing, unfinished or damaged, or do not fit what reads them."""


class OutputError(MmavError):
    """A file that is to be written and cannot be, or would take the place of one that is not the program's own."""


class TooManyBrokenClips(MmavError):
    """More clips of a dataset cannot be read than its configuration allows."""


class TrainingStopped(Exception):
    """Training was asked to stop, and all that is needed to go on is saved; no error."""


def one_line(error: BaseException) -> str:
    """The message of an error on one line.

    An error raised in a worker of a DataLoader arrives with the worker's traceback in its text; the message proper is
    the last line of it.

    Returns:
        The message, without the name of its class.

    >>> one_line(ManifestError('Caught ManifestError in worker 0.\\nmmav.errors.ManifestError: row 3: no label'))
    'row 3: no label'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    last = lines[-1]
    for prefix in (f'{type(error).__module__}.{type(error).__name__}: ', f'{type(error).__name__}: '):
        last = last.removeprefix(prefix)
    return last if len(lines) == 1 or 'Caught' in lines[0] else ' '.join(lines)


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint at the nearest right name.

    Returns:
        ``", did you mean 'dog'?"``, or an empty string where nothing is near.

    >>> did_you_mean('dgo', ['cat', 'dog'])
    ", did you mean 'dog'?"
    """
    near = difflib.get_close_matches(wrong, list(known), n=1)
    return f', did you mean {near[0]!r}?' if near else ''


def require_dict(name: str, value: Any) -> None:
    """Refuses an argument that is neither a dict nor None.

    Raises:
        ConfigError: It is something else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f'{name}={value!r}: give a dict of entries to change')
