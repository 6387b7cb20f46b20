"""Matches the clips of an annotation with files, and reports what is doubtful."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

from tqdm import tqdm

from mmav.errors import MmavError
from mmav.preparation.annotations import NOT_LISTED, SEVERAL_CLASSES, AnnotatedClip, Annotation, Problem
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder, folder_key, names_of

EMPTY, CONFLICT, SEVERAL, AMBIGUOUS, UNUSABLE, SILENT, UNKNOWN = (
    'empty file', 'folder of another class', 'several files', 'one file for several rows', 'unusable file or folder',
    'no audio file', 'file that no row names'
)  # fmt: skip
WHAT_HAPPENS = {
    EMPTY: 'counted as missing',
    CONFLICT: 'the annotation is followed',
    SEVERAL: 'the first is taken',
    AMBIGUOUS: 'counted as missing',
    UNUSABLE: 'skipped',
    SILENT: 'counted as missing',
    UNKNOWN: 'not used',
    NOT_LISTED: 'not used',
    SEVERAL_CLASSES: 'each of its rows is kept',
}


@dataclass
class Matched:
    """Clips and the files found for them.

    Attributes:
        found: Clips and their file, relative to the folder of the clips, in the order of the annotation.
        missing: Clips without a file that can be used, and why.
        problems: What else a user should know.
        audio: Clip -> file of its audio, relative to the folder of those, where clips are pairs of files.
    """

    found: list[tuple[AnnotatedClip, str]] = field(default_factory=list)
    missing: list[tuple[AnnotatedClip, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    audio: dict[AnnotatedClip, str] = field(default_factory=dict)


class _Candidate(NamedTuple):
    """A file with one of a clip's names; the smallest one, as tuples compare, is taken."""

    is_defective: bool
    in_other_class: bool
    is_worse: bool  # sound alone where a picture is wanted, a video where its sound is
    rank: int  # of the name
    depth: int
    path: str
    defect: str
    other: str | None


def match(
    annotation: Annotation,
    folder: ClipFolder,
    patterns: Sequence[str],
    *,
    audio: ClipFolder | None = None,
    progress: bool = False,
) -> Matched:
    """Looks up the file of each clip.

    Several files may have one of a clip's names: those that are not empty are preferred, then those that are not in a
    folder of another class, then videos (in the folder of the audio, files of sound alone), then the order of the
    patterns, then the less deep folder, then the alphabet.

    Args:
        annotation: The clips.
        folder: Their files.
        patterns: Names of the files, see :func:`mmav.preparation.clip_files.names_of`.
        audio: Files of their audio, of the same names, where these are files of their own.
        progress: Whether to show a progress bar.

    Raises:
        MmavError: No clip has a file.
    """
    result = Matched()
    keys = {folder_key(label) for label in annotation.folder_labels}
    named: set[str] = set()
    for clip in tqdm(annotation.clips, desc='match', unit='clip', mininterval=0.5, disable=not progress):
        candidates = _candidates(clip, folder, patterns, keys)
        named.update(candidate.path for candidate in candidates)
        # with many segments of a video, the video is what matters
        where = f'video {clip.video}' if annotation.segments else f'{clip.source}: line {clip.line}'
        best = _chosen(clip, candidates, where, result)
        if best is None:
            continue
        if best.other:
            text = f'{where}: {best.path} is in {best.other!r}, labelled {clip.label!r}'
            result.problems.append(Problem(CONFLICT, text))
        if audio is not None and not _add_audio(clip, audio, patterns, where, result):
            continue
        result.found.append((clip, best.path))
    if not annotation.segments and not annotation.share_files:
        _leave_out_shared(result)
    if annotation.is_whole:
        result.problems += [Problem(UNKNOWN, path) for path in folder.paths if path not in named]
    result.problems = list(dict.fromkeys(result.problems))
    for walked in filter(None, (folder, audio)):
        result.problems += [Problem(UNUSABLE, f'{path}: {reason}') for path, reason in walked.unusable]
    if not result.found:
        _refuse(annotation, folder, patterns, audio, result)
    return result


def _candidates(
    clip: AnnotatedClip,
    folder: ClipFolder,
    patterns: Sequence[str],
    keys: set[str],
    *,
    wanted: frozenset[str] = SUFFIXES,
) -> list[_Candidate]:
    """The files with one of a clip's names, the best one first; of two kinds, the suffixes that are wanted."""
    found: dict[str, _Candidate] = {}
    for rank, name in enumerate(names_of(clip, patterns)):
        for path in folder.find(name):
            if path not in found:
                other, defect = _other_class(path, clip, keys), folder.defect(path)
                is_worse = os.path.splitext(path)[1].lower() not in wanted
                found[path] = _Candidate(
                    bool(defect), other is not None, is_worse, rank, path.count('/'), path, defect, other
                )
    return sorted(found.values(), key=lambda candidate: candidate[:6])


def _chosen(clip: AnnotatedClip, candidates: Sequence[_Candidate], where: str, result: Matched) -> _Candidate | None:
    """The best candidate, or None, with the clip among the missing ones."""
    if not candidates:
        result.missing.append((clip, 'no file'))
        return None
    best = candidates[0]
    if best.is_defective:
        result.missing.append((clip, f'{best.path}: {best.defect}'))
        result.problems.append(Problem(EMPTY, f'{where}: {best.path}: {best.defect}'))
        return None
    if len(candidates) > 1:
        paths = ', '.join(candidate.path for candidate in candidates)
        result.problems.append(Problem(SEVERAL, f'{where}: {paths}'))
    return best


def _add_audio(clip: AnnotatedClip, audio: ClipFolder, patterns: Sequence[str], where: str, result: Matched) -> bool:
    """Looks up the audio of a clip; without it the clip is missing."""
    candidates = _candidates(clip, audio, patterns, set(), wanted=AUDIO_SUFFIXES)
    if not candidates:
        result.missing.append((clip, SILENT))
        result.problems.append(Problem(SILENT, f'{where}: {names_of(clip, patterns[:1])[0]}'))
        return False
    best = _chosen(clip, candidates, where, result)
    if best is None:
        return False
    result.audio[clip] = best.path
    return True


def _refuse(
    annotation: Annotation,
    folder: ClipFolder,
    patterns: Sequence[str],
    audio: ClipFolder | None,
    result: Matched,
) -> NoReturn:
    names = list(dict.fromkeys(expected_name(clip, annotation, patterns) for clip in annotation.clips[:3]))
    told = [problem for problem in result.problems if problem.kind != UNKNOWN]
    empty = f' ({len(told):,} problems, {told[0].text})' if told else ''
    if told and told[0].kind == SILENT and audio is not None:
        raise MmavError(
            f"none of the {len(annotation.clips):,} clips has an audio file in '{audio.root}'; expected are the names "
            f'of the clips, such as {names_of(annotation.clips[0], patterns)[0]!r}, there is {audio.describe()}'
        )
    raise MmavError(
        f"none of the {len(annotation.clips):,} clips has a file in '{folder.root}'{empty}; expected are names "
        f'such as {", ".join(map(repr, names))}, there is {folder.describe()}; if files are named otherwise, say '
        "how with --pattern, such as '{id}'"
    )


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
