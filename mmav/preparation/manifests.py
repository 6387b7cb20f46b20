"""From official annotation files and the clips on disk to manifests, with a report of what is missing."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmav.errors import MmavError
from mmav.outputs import check_all_own, check_folder, write_output
from mmav.preparation.annotations import AnnotatedClip, Annotation, Problem
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder, check_pattern, is_text
from mmav.preparation.clip_matching import WHAT_HAPPENS, Matched, expected_name, match
from mmav.tables import csv_bytes, text_table

CLASS_FILES = dict(label='classes.txt', verb='verbs.txt', noun='nouns.txt')
MISSING, REPORT = 'missing.csv', 'prepare_report.json'
_SHOWN, _REPORTED, _WORST = 3, 1000, 5
_USUAL_SPLITS = ('train', 'val', 'test')


def prepare(
    annotation: Annotation,
    clips: str,
    out: str,
    *,
    pattern: str | None = None,
    audio: str | None = None,
    progress: bool = False,
) -> str:
    """Writes ``train.csv``, ``test.csv``, class lists, ``missing.csv`` and ``prepare_report.json``.

    The same annotation and files give the same bytes. Each file is written whole or not at all.

    Args:
        annotation: The rows of the dataset.
        clips: Folder of the clips.
        out: Folder to write to, the ``data_root`` of configs. Paths in manifests are relative to it if the clips are
            inside, else absolute.
        pattern: Name of a clip's file in place of the usual ones, see :func:`mmav.preparation.clip_files.names_of`.
        audio: Folder of the clips' audio, in files of the same names; manifests then name both. None if the audio is in
            the clips.
        progress: Whether to show progress bars.

    Returns:
        A summary to print.

    Raises:
        MmavError: No clip was found, something cannot be read or written, or one of these files exists and was not
            written by this program.
    """
    clips, out = os.path.expanduser(clips), os.path.expanduser(out)
    patterns = annotation.patterns if pattern is None else (check_pattern(pattern, annotation.fields),)
    lists = {CLASS_FILES[column]: names for column, names in annotation.classes.items()}
    tables = [f'{name}.csv' for name in (*annotation.splits, *annotation.joined)]
    missing, summary = (name.replace('.', f'{annotation.tag}.') for name in (MISSING, REPORT))
    names = [*lists, *annotation.copies, missing, summary]
    check_folder(out, names, inputs=annotation.sources, remedy='give another one with --out')
    # beside files of the audio, a file of sound alone is no picture
    media = SUFFIXES if audio is not None else annotation.media or SUFFIXES
    folder, sounds = ClipFolder(clips, progress=progress, media=media), None
    if audio is not None:
        audio = os.path.expanduser(audio)
        sounds = ClipFolder(audio, progress=progress, media=AUDIO_SUFFIXES | SUFFIXES, option='--audio')
    matched = match(annotation, folder, patterns, audio=sounds, progress=progress)
    if annotation.refine is not None:
        annotation.refine(matched, folder)
        lists = {CLASS_FILES[column]: names for column, names in annotation.classes.items()}
    prefixes = [_prefix(place, out) for place in (clips, audio) if place is not None]
    for prefix in prefixes:
        if not is_text(prefix):
            raise MmavError(f'the folder {prefix!a} is not UTF-8 text and cannot be written to a manifest; rename it')
    files = {name: '\n'.join([*labels, '']).encode() for name, labels in lists.items()} | annotation.copies
    notes = list(annotation.notes)
    for split in annotation.splits:
        rows = [
            (clip, [prefix + file for prefix, file in zip(prefixes, (path, matched.audio.get(clip, '')), strict=False)])
            for clip, path in matched.found
            if clip.split == split
        ]
        if rows:
            files[f'{split}.csv'] = _manifest(annotation, rows)
        else:
            left = ', and the one that is there is an older one' if (Path(out) / f'{split}.csv').exists() else ''
            why = 'no clip was found' if annotation.rows[split] else 'no list is given'
            notes.append(f'{split}.csv is not written, as {why} for it{left}')
    for name, splits in annotation.joined.items():
        parts = [content for split in splits if (content := files.get(f'{split}.csv'))]
        if len(parts) == len(splits):  # the header once
            files[f'{name}.csv'] = parts[0] + b''.join(content.partition(b'\n')[2] for content in parts[1:])
        else:
            left = ', and the one that is there is an older one' if (Path(out) / f'{name}.csv').exists() else ''
            joined = ' and '.join(f'{split}.csv' for split in splits)
            notes.append(f'{name}.csv is not written, as it joins {joined}{left}')
    notes += _older(out, tables)
    check_all_own(Path(out) / name for name in files)
    files[missing] = _missing_table(annotation, matched, patterns)
    report: dict[str, Any] = dict(
        dataset=annotation.dataset,
        annotation=annotation.sources,
        clips=clips,
        **(dict(audio=audio) if audio is not None else {}),
        patterns=patterns,
        media_files=folder.media,
        splits=_counts(annotation, matched),
        classes={name: len(labels) for name, labels in lists.items()},
        most_missing=_worst(annotation, matched),
        notes=notes,
        problems=_by_kind([*annotation.problems, *matched.problems]),
    )
    # A name that is not UTF-8 text becomes an escape, as JSON has them.
    files[summary] = (json.dumps(report, indent=2, ensure_ascii=False) + '\n').encode(errors='backslashreplace')
    written = _write(files, out, [*tables, missing])
    head = f'{annotation.dataset}: {folder.media:,} media files in {folder.root}'
    if sounds is not None:
        head += f', {sounds.media:,} in {sounds.root}'
    worst = _worst_text('video' if annotation.segments else 'class', report['most_missing'])
    return _paragraphs(
        head, _count_table(report['splits']), worst, _problem_text(report['problems']), '\n'.join(notes), written
    )


def dry_run(annotation: Annotation) -> str:
    """A summary of an annotation, to print; needs no clips and writes nothing."""
    rows = [['split', 'rows', 'left out', 'segments' if annotation.segments else 'clips']]
    rows[0] += [Path(CLASS_FILES[column]).stem for column in annotation.classes]
    for split in _splits(annotation):
        clips = [clip for clip in annotation.clips if clip.split == split]
        seen = [
            len({name for clip in clips for name in clip.labels[i].split('|')}) for i in range(len(annotation.classes))
        ]
        numbers = (annotation.rows[split], annotation.left_out[split], len(clips), *seen)
        rows.append([split, *(f'{number:,}' for number in numbers)])
    lists = [
        f'{CLASS_FILES[column]}: {len(names)} names, {names[0]!r} to {names[-1]!r}'
        for column, names in annotation.classes.items()
    ]
    head = f'{annotation.dataset}: {", ".join(annotation.sources)}'
    problems, notes = _problem_text(_by_kind(annotation.problems)), '\n'.join(annotation.notes)
    return _paragraphs(head, text_table(rows), '\n'.join(lists), problems, notes, 'Nothing was written (--dry-run).')


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Adds the arguments that the preparation tools share; ``out`` is the default folder to write to."""
    parser.add_argument('--clips', metavar='DIR', help='folder of the clips, which may be in any subfolder')
    parser.add_argument(
        '--audio', metavar='DIR', help='folder of their audio, if that is in files of their own, of the same names'
    )
    parser.add_argument(
        '--out', metavar='DIR', default=out, help='folder of the manifests, the data_root of configs (%(default)s)'
    )
    parser.add_argument(
        '--pattern', help="name of a clip's file without suffix, in place of the usual ones: '{id}_{start:06d}'"
    )
    parser.add_argument('--dry-run', action='store_true', help='read and check the annotation only, write nothing')


def run(annotation: Annotation, args: argparse.Namespace) -> None:
    """Prepares a dataset, or makes a dry run, with the arguments of :func:`add_arguments`, and prints the summary.

    Raises:
        MmavError: See :func:`prepare`.
    """
    if args.dry_run:
        print(dry_run(annotation))
    elif args.clips is None:
        raise MmavError('give the folder of the clips with --clips DIR, or --dry-run to check the annotation only')
    else:
        print(prepare(annotation, args.clips, args.out, pattern=args.pattern, audio=args.audio, progress=True))


def _older(out: str, tables: Sequence[str]) -> list[str]:
    """Notes on manifests of an earlier run with other splits, which may have clips that are now in another one."""
    others = [f'{split}.csv' for split in _USUAL_SPLITS if f'{split}.csv' not in tables]
    return [
        f'{name} is there from an earlier run and is none of these splits: remove it, or give another folder with --out'
        for name in others
        if (Path(out) / name).exists()
    ]


def _paragraphs(*texts: str) -> str:
    return '\n\n'.join(filter(None, texts))


def _splits(annotation: Annotation) -> list[str]:
    return [split for split in (*annotation.splits, 'unknown') if split in annotation.rows]


def _counts(annotation: Annotation, matched: Matched) -> dict[str, dict[str, Any]]:
    # a row may have become several clips
    rows_of = (
        {(clip.split, clip.source, clip.line, clip.id) for clip, _ in part} for part in (matched.found, matched.missing)
    )
    found, missing = (Counter(row[0] for row in rows) for rows in rows_of)
    return {
        split: dict(
            rows=rows, found=found[split], missing=missing[split], left_out=annotation.left_out[split],
            share=found[split] * 10000 // rows / 10000,  # rounded down, so that 1 means all
        )
        for split in _splits(annotation) if (rows := annotation.rows[split])
    }  # fmt: skip


def _count_table(counts: Mapping[str, Mapping[str, Any]]) -> str:
    names = ('rows', 'found', 'missing', 'left_out')
    rows = [
        [split, *(f'{count[name]:,}' for name in names), f'{count["share"]:.2%}'] for split, count in counts.items()
    ]
    return text_table([['split', 'rows', 'found', 'missing', 'left out', 'share'], *rows])


def _worst(annotation: Annotation, matched: Matched) -> list[dict[str, Any]]:
    """The classes with most missing clips; for segments of long files, the files."""

    def groups(clip: AnnotatedClip) -> list[str]:
        return [clip.video] if annotation.segments else clip.label.split('|')

    rows, missing = (
        Counter(name for clip in clips for name in groups(clip))
        for clips in (annotation.clips, [clip for clip, _ in matched.missing])
    )
    names = sorted(missing, key=lambda name: (-missing[name], rows[name], name))[:_WORST]
    return [dict(name=name, missing=missing[name], rows=rows[name]) for name in names]


def _worst_text(what: str, worst: Iterable[Mapping[str, Any]]) -> str:
    rows = [[row['name'], f'{row["missing"]:,}', f'{row["rows"]:,}'] for row in worst]
    return text_table([[f'{what} with most missing', 'missing', 'rows'], *rows]) if rows else ''


def _by_kind(problems: Iterable[Problem]) -> dict[str, dict[str, Any]]:
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem.text)
    return {kind: dict(count=len(texts), first=texts[:_REPORTED]) for kind, texts in kinds.items()}


def _problem_text(problems: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for kind, found in problems.items():
        lines.append(f'{kind}: {found["count"]:,}, {WHAT_HAPPENS.get(kind, "left out")}')
        lines += [f'  {text}' for text in found['first'][:_SHOWN]]
        if found['count'] > _SHOWN:
            lines.append(f'  ... and {found["count"] - _SHOWN:,} more')
    return '\n'.join(lines)


def _prefix(clips: str, out: str) -> str:
    """The prefix of paths relative to the clips: from ``out`` if they are inside, else absolute."""
    for resolve in (os.path.abspath, os.path.realpath):  # first as given: a link to a folder of clips may be inside
        inner, outer = Path(resolve(clips)), Path(resolve(out))
        if inner.is_relative_to(outer):
            way = inner.relative_to(outer).as_posix()
            return '' if way == '.' else f'{way}/'
    return Path(os.path.abspath(clips)).as_posix().rstrip('/') + '/'


def _seconds(value: float) -> str:
    return f'{value:.3f}'.rstrip('0').rstrip('.')


def _manifest(annotation: Annotation, rows: Sequence[tuple[AnnotatedClip, Sequence[str]]]) -> bytes:
    """The manifest of clips and their files: one, or video and audio."""
    header = ['path'] if len(rows[0][1]) == 1 else ['video', 'audio']
    if not annotation.segments:
        return csv_bytes([[*header, *annotation.classes], *([*files, *clip.labels] for clip, files in rows)])
    last = [annotation.id_column] if annotation.id_column else []
    cells = (
        [*files, _seconds(clip.start), _seconds(clip.end), *clip.labels, *([clip.id] if last else [])]
        for clip, files in rows
    )
    return csv_bytes([[*header, 'start', 'end', *annotation.classes, *last], *cells])


def _missing_table(annotation: Annotation, matched: Matched, patterns: Sequence[str]) -> bytes:
    rows = [
        [clip.split, clip.line, clip.id, _seconds(clip.start), _seconds(clip.end), clip.label,
         expected_name(clip, annotation, patterns), reason]
        for clip, reason in matched.missing
    ]  # fmt: skip
    return csv_bytes([['split', 'line', 'id', 'start', 'end', 'label', 'expected', 'reason'], *rows])


def _write(files: dict[str, bytes], out: str, tables: Sequence[str]) -> str:
    rows = [['written', '', '']]
    for name, content in files.items():
        size = f'{content.count(10) - 1:,} rows' if name in tables else ''
        rows.append([os.path.join(out, name), size, 'replaced' if os.path.exists(os.path.join(out, name)) else 'new'])
        write_output(Path(out) / name, content)
    return text_table(rows, left=3)
