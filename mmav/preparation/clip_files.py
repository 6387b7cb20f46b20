"""Clip files on disk: a folder is walked once, and clips are looked up by their possible names."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from string import Formatter
from typing import Any

from tqdm import tqdm

from mmav.errors import MmavError, did_you_mean
from mmav.preparation.annotations import AnnotatedClip

SUFFIXES = frozenset(['.mp4', '.m4v', '.mkv', '.webm', '.avi', '.mov', '.flv', '.wmv', '.mpg', '.mpeg', '.3gp'])
AUDIO_SUFFIXES = frozenset(['.wav', '.mp3', '.flac', '.m4a', '.aac', '.ogg', '.opus', '.wma', '.aif', '.aiff'])
# what downloaders and editors call files that are not complete yet
_TEMPORARY = ('.temp', '.tmp', '.part', '~')
# what Git LFS leaves in place of a file until it is fetched
_POINTER, _POINTER_BYTES = b'version https://git-lfs', 1024


class ClipFolder:
    """The files of a folder and its subfolders.

    Links to folders are followed, and each folder is visited once, so that a link to a folder above makes no circle.
    Hidden and temporary files are skipped.

    Args:
        root: The folder.
        progress: Whether to show how many files were seen.
        media: Suffixes of media files.
        option: The option that gives the folder, for messages.

    Attributes:
        root: The folder.
        media: Number of media files.
        suffixes: Suffix -> number of files of any kind.
        first: Some files, for messages.
        unusable: Paths that cannot be read or written into a manifest, and why.

    Raises:
        MmavError: There is no such folder.
    """

    def __init__(
        self, root: str, *, progress: bool = False, media: frozenset[str] = SUFFIXES, option: str = '--clips'
    ) -> None:
        self.root = root
        self._suffixes = media
        self.media = 0
        self.suffixes: Counter[str] = Counter()
        self.first: list[str] = []
        self.unusable: list[tuple[str, str]] = []
        self._paths: dict[str, list[str]] = {}
        self._sizes: dict[str, int | None] = {}
        if not os.path.isdir(self.root):
            raise MmavError(f"no folder '{root}'; give the folder of the clips with {option}")
        with tqdm(desc='walk', unit='file', mininterval=0.5, disable=not progress) as bar:
            self._walk(bar)

    @property
    def paths(self) -> list[str]:
        """All media files, relative to the root, with ``/``, sorted."""
        return sorted(path for paths in self._paths.values() for path in paths)

    def find(self, name: str) -> list[str]:
        """The media files with a name.

        Args:
            name: Without suffix; may begin with folders: ``a/b`` finds ``x/a/b.mp4``.

        Returns:
            Paths relative to the root, with ``/``.
        """
        folder, _, stem = name.rpartition('/')
        paths = self._paths.get(stem, [])
        return [path for path in paths if f'/{path}'.rpartition('/')[0].endswith(f'/{folder}')] if folder else paths

    def size(self, path: str) -> int | None:
        """Bytes of a file of this folder; None if it cannot be reached, such as a broken link."""
        if path not in self._sizes:
            try:
                self._sizes[path] = os.stat(f'{self.root}/{path}').st_size
            except OSError:
                self._sizes[path] = None
        return self._sizes[path]

    def defect(self, path: str) -> str:
        """Why a file of this folder holds no media, seen from outside; empty if nothing is wrong."""
        size = self.size(path)
        if not size:
            return 'link to nothing' if size is None else '0 bytes'
        if size < _POINTER_BYTES:
            with suppress(OSError), open(f'{self.root}/{path}', 'rb') as file:
                if file.read(len(_POINTER)) == _POINTER:
                    return 'a pointer of Git LFS, not the file: fetch it with git lfs pull'
        return ''

    def describe(self) -> str:
        """A summary of the files, for a message that none fits."""
        counts = ', '.join(f'{number:,} {suffix}' for suffix, number in self.suffixes.most_common(4))
        return f'{counts}, such as {", ".join(repr(path) for path in self.first)}' if counts else 'no file at all'

    def _walk(self, bar: Any) -> None:
        visited: set[tuple[int, int]] = set()
        folders = ['']  # the last one is visited next
        while folders:
            folder = folders.pop()
            place = os.path.join(self.root, folder)
            try:
                status = os.stat(place)
                if (status.st_dev, status.st_ino) in visited:
                    continue
                visited.add((status.st_dev, status.st_ino))
                with os.scandir(place) as entries:
                    # sorted: which of two equal names comes first must not depend on the file system
                    content = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.unusable.append((folder or '.', f'the folder cannot be read: {error.strerror}'))
                continue
            subfolders = []
            for entry in content:
                if entry.name.startswith('.'):
                    continue
                path = f'{folder}/{entry.name}' if folder else entry.name
                if _is_folder(entry):
                    subfolders.append(path)
                else:
                    self._add(entry.name, path)
            folders += reversed(subfolders)
            bar.update(len(content) - len(subfolders))

    def _add(self, name: str, path: str) -> None:
        stem, suffix = os.path.splitext(name)
        if len(self.first) < 3:
            self.first.append(path)
        self.suffixes[suffix.lower() or 'without suffix'] += 1
        if suffix.lower() in self._suffixes and not stem.endswith(_TEMPORARY):
            if not path.isascii() and not is_text(path):
                self.unusable.append((ascii(path), 'the name is not UTF-8 text and cannot be written to a manifest'))
                return
            self.media += 1
            self._paths.setdefault(stem, []).append(path)


def check_pattern(pattern: str, fields: Sequence[str]) -> str:
    """Checks a user's pattern for the names of files.

    Args:
        pattern: Such as ``'{id}_{start:06d}'``; may begin with folders, and a suffix of media files is removed.
        fields: The names that it may use.

    Returns:
        The pattern.

    Raises:
        MmavError: It is not a pattern.

    >>> check_pattern('{id}_{start:06d}.mp4', ['id', 'start'])
    '{id}_{start:06d}'
    """
    stem, suffix = os.path.splitext(pattern)
    if suffix.lower() in SUFFIXES | AUDIO_SUFFIXES:
        pattern = stem
    may = ', '.join(f'{{{field}}}' for field in fields)
    try:
        used = [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
        for field in used:
            if field not in fields:
                raise MmavError(f'--pattern {pattern!r}: no field {field!r}{did_you_mean(field, fields)}; use {may}')
        pattern.format_map(_values(AnnotatedClip('', '', 0, '', 'x', 1, 2, ('y',))))
    except (ValueError, KeyError, IndexError) as error:
        raise MmavError(f"--pattern {pattern!r}: {error}; write it as '{{id}}_{{start:06d}}'") from error
    if 'id' not in used:
        raise MmavError(f'--pattern {pattern!r} has no {{id}}, so it cannot tell clips apart; use {may}')
    return pattern.strip('/')


def names_of(clip: AnnotatedClip, patterns: Iterable[str]) -> list[str]:
    """The names, without suffix, that the file of a clip may have, in the order of preference.

    Patterns may use ``id`` (of the video), ``start`` and ``end`` (whole seconds), ``start_ms`` and ``end_ms``
    (milliseconds), ``start_s`` and ``end_s`` (seconds as ``30.000``), and ``label`` (also with ``_`` for its spaces).

    >>> clip = AnnotatedClip('train', 'a.csv', 1, 'x', 'x', 30, 40, ('dog barking',))
    >>> names_of(clip, ['{id}_{start:06d}', '{label}/{id}'])
    ['x_000030', 'dog barking/x', 'dog_barking/x']
    """
    values = _values(clip)
    names = [pattern.format_map(values) for pattern in patterns]
    if ' ' in clip.label and any('{label' in pattern for pattern in patterns):
        values['label'] = clip.label.replace(' ', '_')
        names += [pattern.format_map(values) for pattern in patterns]
    return list(dict.fromkeys(names))


@cache
def folder_key(name: str) -> str:
    """One form for the different ways to write a class name as the name of a folder.

    >>> folder_key('Bird chirping, tweeting'), folder_key('bird_chirping_tweeting')
    ('bird_chirping_tweeting', 'bird_chirping_tweeting')
    """
    return re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')


def _values(clip: AnnotatedClip) -> dict[str, str | int]:
    start, end = int(clip.start), int(clip.end)
    times: dict[str, str | int] = dict(
        start=start,
        end=end,
        start_ms=round(1000 * clip.start),
        end_ms=round(1000 * clip.end),
        start_s=f'{clip.start:.3f}',
        end_s=f'{clip.end:.3f}',
    )
    return dict(id=clip.video, label=clip.label, **times)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def is_text(path: str) -> bool:
    """Whether a path can be written to a text file."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
