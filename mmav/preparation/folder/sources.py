"""Which clips were cut from the same recording: a clip and its neighbour must not be in training and test."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from mmav.errors import MmavError
from mmav.files import digest_of
from mmav.preparation.clip_files import folder_key
from mmav.preparation.folder.listing import ListedClip

# YouTube's id, then the start of the clip and perhaps its end, as VGGSound, AudioSet and Kinetics are named
_TIMED = re.compile(r'([\w-]{11})_\d+(?:\.\d+)?(?:_\d+(?:\.\d+)?)?')
_MARKED = re.compile(
    r'(.*?)[\s._-]*(?:part|pt|seg|segment|chunk|piece|slice|window|cut|scene|shot)[\s._-]*\d+', re.IGNORECASE
)
# a counter at the end, such as g01_c03 or interview_07
_COUNTED = re.compile(r'(.*[^\W\d_].*?)[\s._-]+[a-z]?\d+', re.IGNORECASE)
# fewer recordings of a class than this are more likely a series of names than recordings
_LEAST = 5


def equal_files(root: Path, paths: Sequence[str]) -> list[list[str]]:
    """Groups of files with the same content; only files of equal size are read.

    Args:
        root: Folder that paths are relative to.
        paths: The files; those that cannot be read are equal to none.
    """
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        try:
            size = os.stat(root / path).st_size
        except OSError:
            continue
        if size:
            by_size[size].append(path)
    groups: list[list[str]] = []
    for same in by_size.values():
        if len(same) < 2:
            continue
        by_content: dict[str, list[str]] = defaultdict(list)
        for path in same:
            by_content[_content(root / path)].append(path)
        groups += [group for group in by_content.values() if len(group) > 1]
    return groups


def _content(path: Path) -> str:
    """The checksum of a file; of one that cannot be read its name, which no other file has."""
    try:
        return digest_of(path, partial(hashlib.blake2b, digest_size=16))
    except OSError:
        return str(path)


def group_sources(
    clips: Sequence[ListedClip], copies: Sequence[Sequence[str]] = (), *, pattern: str | None = None
) -> tuple[dict[str, str], list[str]]:
    """Tells which files come from the same recording.

    Files with the same content do, those named ``<id>_<start>`` with a YouTube id, as VGGSound's are, and those whose
    names end in such as ``part3`` or ``scene_02``. Where only a counter at the end differs, as in ``anna_01`` and
    ``anna_02``, or the sub-folder of a class, it is taken for the recording if the class has at least five of them;
    ``dog_001``, ``dog_002`` in ``dog`` remain single recordings.

    Args:
        clips: The clips; spans of one file have one source anyway.
        copies: Groups of files with the same content.
        pattern: Regular expression that finds the recording in a path: its first group, or all that it matches. In
            place of the rules on names.

    Returns:
        Path -> its source; and in words how files were grouped.

    Raises:
        MmavError: The pattern is not a regular expression, or finds nothing in a path.

    >>> names = ['x/Abcdefghij1_000030.mp4', 'x/Abcdefghij1_000040.mp4', 'x/b.mp4']
    >>> sources, told = group_sources([ListedClip(name, 'x', None) for name in names])
    >>> sources['x/Abcdefghij1_000040.mp4'], told
    ('Abcdefghij1', ['2 files named <id>_<start> come from 1 recording'])
    """
    paths = list(dict.fromkeys(clip.path for clip in clips))
    told: list[str] = []
    if pattern is not None:
        source_of = _by_pattern(paths, pattern)
        _tell(told, f'by the pattern {pattern!r}', paths, source_of)
    else:
        source_of = {path: path for path in paths}
        timed, marked, rest = {}, {}, []
        for path in paths:
            stem = PurePosixPath(path).stem
            if (found := _TIMED.fullmatch(stem)) and re.search('[A-Z0-9]', found[1]):
                timed[path] = found[1]
            elif (found := _MARKED.fullmatch(stem)) and found[1]:
                marked[path] = f'{PurePosixPath(path).parent}/{found[1]}'
            else:
                rest.append(path)
        counted = _counters(rest, clips)
        for named, what in ((timed, 'named <id>_<start>'), (marked, 'named ..._part<n>'), (counted, 'named ..._<n>')):
            source_of.update(named)
            _tell(told, what, list(named), source_of)
    joined = _join(source_of, copies)
    if copies:
        told.append(f'{sum(map(len, copies)):,} files are copies of each other and count as {len(copies):,}')
    return joined, told


def _by_pattern(paths: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise MmavError(f'--source {pattern!r} is not a regular expression: {error}') from error
    found = {path: compiled.search(path) for path in paths}
    without = [path for path, match in found.items() if match is None]
    if without:
        raise MmavError(
            f"--source {pattern!r} finds nothing in '{without[0]}' (nor in {len(without) - 1:,} other paths): it has "
            'to find the recording in each path'
        )
    return {path: match[1] if match.re.groups else match[0] for path, match in found.items() if match}


def _counters(paths: Sequence[str], clips: Sequence[ListedClip]) -> dict[str, str]:
    """Sources by a sub-folder of the class, or by the name without a counter at its end."""
    label_of = {clip.path: clip.label for clip in clips}
    stems: dict[str, str] = {}
    for path in paths:
        parts = PurePosixPath(path).parts
        label = label_of[path]
        inside = parts[parts.index(label) + 1 : -1] if label in parts else ()
        found = _COUNTED.fullmatch(PurePosixPath(path).stem)
        if inside:
            stems[path] = '/'.join(inside)
        elif found and folder_key(found[1]) != folder_key(label):
            stems[path] = found[1]
    sides: dict[str, set[str | None]] = defaultdict(set)
    for clip in clips:
        sides[stems.get(clip.path, clip.path)].add(clip.part)
    if any(len(parts) > 1 for parts in sides.values()):
        return {}  # the user's own lists do not keep these names apart
    known: dict[str, set[str]] = defaultdict(set)
    size: dict[str, int] = defaultdict(int)
    for path in paths:
        size[label_of[path]] += 1
        known[label_of[path]].add(stems.get(path, path))
    return {path: stem for path, stem in stems.items() if _LEAST <= len(known[label_of[path]]) < size[label_of[path]]}


def _join(source_of: Mapping[str, str], copies: Sequence[Sequence[str]]) -> dict[str, str]:
    """Gives sources that share a content one name."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.get(name, name) != name:
            name = parent[name]
        return name

    for group in copies:
        names = [root(source_of[path]) for path in group if path in source_of]
        for name in names[1:]:
            parent[root(name)] = root(names[0])
    return {path: root(source) for path, source in source_of.items()}


def _tell(told: list[str], what: str, paths: Sequence[str], source_of: Mapping[str, str]) -> None:
    sources = {source_of[path] for path in paths}
    if paths and len(sources) < len(paths):
        plural = 's' * (len(sources) != 1)
        told.append(f'{len(paths):,} files {what} come from {len(sources):,} recording{plural}')
