"""Matches the clips of an annotation with files, and reports what is doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tqdm import tqdm

from mmav.errors import MmavError
from mmav.preparation.annotations import AnnotatedClip, Annotation, Problem
from mmav.preparation.clip_files import ClipFolder, folder_key, names_of

EMPTY, CONFLICT, SEVERAL, AMBIGUOUS, UNUSABLE = (
    'empty file', 'folder of another class', 'several files', 'one file for several rows', 'unusable file or folder'
)  # fmt: skip
WHAT_HAPPENS = {
    EMPTY: 'counted as missing',
    CONFLICT: 'the annotation is followed',
    SEVERAL: 'the first is taken',
    AMBIGUOUS: 'counted as missing',
    UNUSABLE: 'skipped',
}


@dataclass
class Matched:
    """Clips and the files found for them.

    Attributes:
        found: Clips and their file, relative to the folder of the clips, in the order of the annotation.
        missing: Clips without a file that can be used, and why.
        problems: What else a user should know.
    """

    found: list[tuple[AnnotatedClip, str]] = field(default_factory=list)
    missing: list[tuple[AnnotatedClip, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class _Candidate(NamedTuple):
    """A file with one of a clip's names; the smallest one, as tuples compare, is taken."""

    is_empty: bool
    in_other_class: bool
    rank: int  # of the name
    depth: int
    path: str
    size: int | None
    other: str | None


def match(annotation: Annotation, folder: ClipFolder, patterns: Sequence[str], *, progress: bool = False) -> Matched:
    """Looks up the file of each clip.

    Several files may have one of a clip's names: those that are not empty are preferred, then those that are not in a
    folder of another class, then the order of the patterns, then the less deep folder, then the alphabet.

    Raises:
        MmavError: No clip has a file.
    """
    result = Matched()
    keys = {folder_key(label) for label in annotation.folder_labels}
    for clip in tqdm(annotation.clips, desc='match', unit='clip', mininterval=0.5, disable=not progress):
        candidates: dict[str, _Candidate] = {}
        for rank, name in enumerate(names_of(clip, patterns)):
            for path in folder.find(name):
                if path not in candidates:
                    other = _other_class(path, clip, keys)
                    size = folder.size(path)
                    candidates[path] = _Candidate(not size, other is not None, rank, path.count('/'), path, size, other)
        if not candidates:
            result.missing.append((clip, 'no file'))
            continue
        best = min(candidates.values())
        path = best.path
        # with many segments of a video, the video is what matters
        where = f'video {clip.video}' if annotation.segments else f'{clip.source}: line {clip.line}'
        if best.is_empty:
            reason = 'link to nothing' if best.size is None else '0 bytes'
            result.missing.append((clip, f'{path}: {reason}'))
            result.problems.append(Problem(EMPTY, f'{where}: {path}: {reason}'))
            continue
        if len(candidates) > 1:
            paths = ', '.join(candidate.path for candidate in sorted(candidates.values()))
            result.problems.append(Problem(SEVERAL, f'{where}: {paths}'))
        if best.other:
            text = f'{where}: {path} is in {best.other!r}, labelled {clip.label!r}'
            result.problems.append(Problem(CONFLICT, text))
        result.found.append((clip, path))
    if not annotation.segments:
        _leave_out_shared(result)
    result.problems = list(dict.fromkeys(result.problems))
    result.problems += [Problem(UNUSABLE, f'{path}: {reason}') for path, reason in folder.unusable]
    if not result.found:
        names = list(dict.fromkeys(expected_name(clip, annotation, patterns) for clip in annotation.clips[:3]))
        empty = f' ({len(result.problems):,} problems, {result.problems[0].text})' if result.problems else ''
        raise MmavError(
            f"none of the {len(annotation.clips):,} clips has a file in '{folder.root}'{empty}; expected are names "
            f'such as {", ".join(map(repr, names))}, there is {folder.describe()}; if files are named otherwise, say '
            "how with --pattern, such as '{id}'"
        )
    return result


def _leave_out_shared(result: Matched) -> None:
    """A file that fits several clips holds at most one of them, and its name does not tell which."""
    owners: dict[str, list[AnnotatedClip]] = {}
    for clip, path in result.found:
        owners.setdefault(path, []).append(clip)
    shared = {path: clips for path, clips in owners.items() if len(clips) > 1}
    for path, clips in shared.items():
        lines = ', '.join(f'{clip.source} line {clip.line}' for clip in clips)
        result.problems.append(Problem(AMBIGUOUS, f'{path}: {lines}'))
        result.missing += [(clip, f'{path} would serve for several rows') for clip in clips]
    result.found = [(clip, path) for clip, path in result.found if path not in shared]


def _other_class(path: str, clip: AnnotatedClip, keys: set[str]) -> str | None:
    """The folder of a path that has the name of another class than the clip's; None if there is none."""
    folders = path.split('/')[:-1]
    own = folder_key(clip.label)
    named = [(folder, key) for folder in reversed(folders) if (key := folder_key(folder)) in keys]
    return None if not named or any(key == own for _, key in named) else named[0][0]


def expected_name(clip: AnnotatedClip, annotation: Annotation, patterns: Sequence[str]) -> str:
    """The name that the file of a clip should have."""
    return names_of(clip, patterns[:1])[0] + annotation.suffix
