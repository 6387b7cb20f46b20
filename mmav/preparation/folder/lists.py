"""From the clips of a folder to its lists for training, validation and test: windows, held-out parts, manifests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmav.datasets.media.pair_path import PairPath
from mmav.errors import MmavError
from mmav.outputs import write_output
from mmav.preparation.folder.listing import CLASS_FILE, PARTS, ListedClip
from mmav.preparation.folder.sources import group_sources
from mmav.preparation.folder.splitting import hold_out
from mmav.preparation.folder.survey import Survey
from mmav.tables import write_csv

# least clips of a class
LEAST_CLIPS = 5
# a file that lasts as many windows becomes several clips, so many that a class has about this number
SEVERAL, CLIPS_OF_CLASS = 2.0, 200
_FEW = 500
HELD_OUT = ('test', 'val')
_PAIR = ('video', 'audio', 'fps', 'sample_rate')


@dataclass
class Division:
    """The lists of a folder.

    Attributes:
        clips: Part -> its clips.
        files: Part -> manifest to use.
        classes: Class list to use.
        sources: Path -> recording that it comes from.
        told: How clips were grouped, cut and held out, in words.
        left_out: Files that are in no list, and why.
    """

    clips: dict[str, list[ListedClip]]
    files: dict[str, Path]
    classes: Path
    sources: dict[str, str]
    told: list[str]
    left_out: dict[str, str]


def divide(
    survey: Survey,
    out: Path,
    *,
    modalities: Sequence[str],
    window: float,
    seed: int = 0,
    pattern: str | None = None,
) -> Division:
    """Makes the lists that a folder lacks, and writes them to another folder.

    Args:
        survey: The folder.
        out: Where to write them.
        modalities: What a file has to have one of.
        window: Seconds that the model looks at.
        seed: Of the draw.
        pattern: See :func:`mmav.preparation.folder.sources.group_sources`.

    Raises:
        MmavError: A class has too few clips or recordings, or none for training; or no clip of a part that the folder
            names can be used.
    """
    listing = survey.listing
    left_out = _unusable(survey, modalities)
    told: list[str] = []
    if not listing.given:
        label_of = {clip.path: clip.label for clip in listing.clips}
        for group in survey.copies:
            first: dict[str, str] = {}
            for path in group:
                if first.setdefault(label_of[path], path) != path:
                    left_out.setdefault(path, f'a copy of {first[label_of[path]]}')
    usable = [clip for clip in listing.clips if clip.path not in left_out]
    sources, grouped = group_sources(usable, survey.copies, pattern=pattern)
    told += grouped
    clips = usable if listing.given else _in_windows(usable, survey, window, told)
    _require_enough(clips, listing.classes)
    parts: dict[str, list[ListedClip]] = {part: [] for part in PARTS}
    for clip in clips:
        parts[clip.part or 'train'].append(clip)
    _require_parts(listing.clips, parts, left_out)
    missing = [part for part in HELD_OUT if not parts[part]]
    if missing:
        pool = parts['train']
        share = held_out_share(len(pool))
        chosen = hold_out(
            [sources[clip.path] for clip in pool],
            [clip.label for clip in pool],
            dict.fromkeys(missing, share),
            seed=seed,
        )
        for part in ('train', *missing):
            parts[part] = [clip for clip, of in zip(pool, chosen, strict=True) if of == part]
        told.append(
            f'held out: {share:.0%} of each class for {f" and {share:.0%} for ".join(missing)}, drawn with seed '
            f'{seed}; all clips of a recording are on one side'
        )
    told += _leaks(parts, sources)
    files = _write(survey, out, parts, missing, left_out)
    return Division(parts, files, listing.class_file or out / CLASS_FILE, sources, told, left_out)


def held_out_share(clips: int) -> float:
    """Share of the clips that each held-out part gets: few clips need a larger one for an estimate that says something.

    >>> held_out_share(60), held_out_share(2000)
    (0.2, 0.1)
    """
    return 0.2 if clips < _FEW else 0.1


def _unusable(survey: Survey, modalities: Sequence[str]) -> dict[str, str]:
    left_out: dict[str, str] = {}
    for path, probe in survey.probes.items():
        if probe.failure is not None:
            left_out[path] = probe.error or probe.failure
        elif not any(dict(video=probe.has_video, audio=probe.has_audio)[name] for name in modalities):
            left_out[path] = f'has no {" and no ".join(modalities)}'
    return left_out


def _in_windows(clips: Sequence[ListedClip], survey: Survey, window: float, told: list[str]) -> list[ListedClip]:
    """Clips that are much longer than a window become several, spread evenly over their length."""
    of_class = Counter(clip.label for clip in clips)
    found, cut = [], 0
    for clip in clips:
        length = survey.length(clip.path, clip.start, clip.end)
        if length < SEVERAL * window:
            found.append(clip)
            continue
        number = min(math.floor(length / window), max(4, round(CLIPS_OF_CLASS / of_class[clip.label])))
        begin = clip.start or 0.0
        starts = [begin + (length - window) * k / (number - 1) for k in range(number)]
        found += [clip._replace(start=round(start, 3), end=round(start + window, 3)) for start in starts]
        cut += 1
    if cut:
        told.append(
            f'{cut:,} file{"s" * (cut != 1)} of {SEVERAL * window:g} s or more became '
            f'{len(found) - len(clips) + cut:,} clips of {window:g} s; those of one file are on one side'
        )
    return found


def _require_enough(clips: Sequence[ListedClip], classes: Sequence[str]) -> None:
    counts = Counter(clip.label for clip in clips)
    few = sorted((counts[name], name) for name in classes if counts[name] < LEAST_CLIPS)
    if few:
        number, name = few[0]
        others = f' ({len(few) - 1} other class{"es" * (len(few) > 2)} likewise)' if len(few) > 1 else ''
        raise MmavError(
            f'class {name!r} has {number} usable clip{"s" * (number != 1)}{others}: {LEAST_CLIPS} or more are needed; '
            'add some, or move the class out of the folder'
        )


def _require_parts(listed: Sequence[ListedClip], parts: dict[str, list[ListedClip]], left_out: dict[str, str]) -> None:
    """Refuses parts of the user's that are lost: nothing stands in for a test list, or for clips to train on."""
    for part, clips in parts.items():
        lost = [clip.path for clip in listed if clip.part == part]
        if lost and not clips:
            raise MmavError(
                f'none of the {len(lost):,} clips for {part} can be used, such as {lost[0]}: {left_out[lost[0]]}; '
                'mend them, or remove the list or folder to have clips held out'
            )
    trained = {clip.label for clip in parts['train']}
    for part in HELD_OUT:
        other = next((clip.label for clip in parts[part] if clip.label not in trained), None)
        if other is not None:
            raise MmavError(
                f'class {other!r} has clips for {part} but none for training: add some, or remove it from {part}'
            )


def _leaks(parts: dict[str, list[ListedClip]], sources: dict[str, str]) -> list[str]:
    """Recordings on both sides, as a user's own lists may have them."""
    trained = {sources[clip.path] for clip in parts['train'] if clip.path in sources}
    told = []
    for part in HELD_OUT:
        shared = [clip for clip in parts[part] if sources.get(clip.path) in trained]
        if shared:
            told.append(
                f'{len(shared):,} of {len(parts[part]):,} clips of {part} come from recordings that are in training, '
                f'too, such as {shared[0].path}: accuracy on them says little about new recordings'
            )
    return told


def _write(
    survey: Survey, out: Path, parts: dict[str, list[ListedClip]], made: Sequence[str], left_out: dict[str, str]
) -> dict[str, Path]:
    """Writes the lists that are not the user's, or differ from them; returns the ones to use."""
    listing = survey.listing
    if listing.class_file is None:
        write_output(out / CLASS_FILE, ''.join(f'{name}\n' for name in listing.classes))
    files: dict[str, Path] = {}
    lost: Counter[str | None] = Counter()
    for clip in listing.clips:
        lost[clip.part] += clip.path in left_out
    for part, clips in parts.items():
        own = listing.given.get(part)
        # unreadable clips of a test list count as wrong, as its owner means it
        if own is not None and (part == 'test' or not lost[part]) and not (part == 'train' and made):
            files[part] = own.resolve()
            continue
        spans = any(clip.start is not None or clip.end is not None for clip in clips)
        paired = any(isinstance(clip.path, PairPath) for clip in clips)
        header = [*(_PAIR if paired else ['path']), *(['start', 'end'] if spans else []), 'label']
        rows = [
            [
                *_cells(clip.path),
                *(map(_number, clip[3:5]) if spans else []),
                clip.label,
            ]
            for clip in clips
        ]
        files[part] = (out / f'{part}.csv').resolve()
        write_csv(files[part], [header, *rows])
    return files


def _cells(path: str) -> list[str]:
    """The cells of a manifest that name a clip."""
    if not isinstance(path, PairPath):
        return [path]
    return [path.video, path.audio, _number(path.fps), _number(path.sample_rate)]


def _number(value: float | None) -> str:
    return '' if value is None else f'{value:.12g}'
