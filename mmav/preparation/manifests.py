"""From official annotation files and the clips that are there to manifests, with a report of what is missing."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmav.errors import MmavError
from mmav.outputs import check_all_own, check_folder, write_output
from mmav.preparation.annotations import SPLITS, Annotation, Clip, Problem
from mmav.preparation.clip_files import ClipFolder, check_pattern, is_text
from mmav.preparation.clip_matching import WHAT_HAPPENS, Matched, expected_name, match
from mmav.tables import csv_bytes, text_table

CLASS_FILES = dict(label='classes.txt', verb='verbs.txt', noun='nouns.txt')
REPORT = 'prepare_report.json'
_SHOWN, _REPORTED, _WORST = 3, 1000, 5


def prepare(annotation: Annotation, clips: str, out: str, *, pattern: str | None = None, progress: bool = False) -> str:
    """Writes ``train.csv``, ``test.csv``, class lists, ``missing.csv`` and ``prepare_report.json``.

    The same annotation and files give the same bytes. Each file is written whole or not at all.

    Args:
        annotation: The rows of the dataset.
        clips: Folder of the clips.
        out: Folder to write to, the ``data_root`` of configs. Paths in manifests are relative to it if the clips lie
            inside, else absolute.
        pattern: Name of a clip's file in place of the customary ones, see :func:`mmav.preparation.clip_files.names_of`.
        progress: Whether to show progress bars.

    Returns:
        What to print.

    Raises:
        MmavError: No clip was found, something cannot be read or written, or a file that stands in the place of one of
            these was not written by this.
    """
    clips, out = os.path.expanduser(clips), os.path.expanduser(out)
    patterns = annotation.patterns if pattern is None else (check_pattern(pattern, annotation.fields),)
    check_folder(
        out,
        [
            *(CLASS_FILES[column] for column in annotation.classes),
            *annotation.copies,
            'missing.csv',
            REPORT,
        ],
        inputs=annotation.sources,
        remedy='give another one with --out',
    )
    folder = ClipFolder(clips, progress=progress)
    matched = match(annotation, folder, patterns, progress=progress)
    counts, worst = _counts(annotation, matched), _worst(annotation, matched)
    problems = [*annotation.problems, *matched.problems]
    prefix = _prefix(clips, out)
    if not is_text(prefix):
        raise MmavError(f'the folder {prefix!a} is not UTF-8 text and cannot stand in a manifest; rename it')
    files: dict[str, bytes] = {
        CLASS_FILES[column]: ('\n'.join(names) + '\n').encode() for column, names in annotation.classes.items()
    }
    files.update(annotation.copies)
    notes = list(annotation.notes)
    for split in SPLITS:
        rows = [(clip, prefix + path) for clip, path in matched.found if clip.split == split]
        if rows:
            files[f'{split}.csv'] = _manifest(annotation, rows)
        else:
            left = ', and the one that is there is an older one' if (Path(out) / f'{split}.csv').exists() else ''
            why = 'no clip was found' if annotation.rows[split] else 'no list is given'
            notes.append(f'{split}.csv is not written, as {why} for it{left}')
    check_all_own(Path(out) / name for name in files)
    files['missing.csv'] = _missing_table(annotation, matched, patterns)
    report = dict(
        dataset=annotation.dataset,
        annotation=annotation.sources,
        clips=clips,
        patterns=patterns,
        media_files=folder.media,
        splits=counts,
        classes={CLASS_FILES[column]: len(names) for column, names in annotation.classes.items()},
        most_missing=worst,
        notes=notes,
        problems={kind: dict(count=len(texts), first=texts[:_REPORTED]) for kind, texts in _by_kind(problems).items()},
    )
    # A name that is not UTF-8 text becomes an escape, as JSON has them.
    files[REPORT] = (json.dumps(report, indent=2, ensure_ascii=False) + '\n').encode(errors='backslashreplace')
    written = _write(files, out)
    head = f'{annotation.dataset}: {folder.media:,} media files in {folder.root}'
    return '\n\n'.join(filter(None, [head, _count_table(counts), _worst_text(annotation, worst),
                                     _problem_text(problems), '\n'.join(notes), written]))  # fmt: skip


def dry_run(annotation: Annotation) -> str:
    """What an annotation holds, for printing; no clip is needed and nothing is written."""
    columns = list(annotation.classes)
    what = 'segments' if annotation.segments else 'clips'
    rows = [['split', 'rows', 'left out', what, *(Path(CLASS_FILES[column]).stem for column in columns)]]
    for split in sorted(annotation.rows, key=_split_order):
        clips = [clip for clip in annotation.clips if clip.split == split]
        seen = [len({clip.labels[i] for clip in clips}) for i in range(len(columns))]
        numbers = (annotation.rows[split], annotation.left_out[split], len(clips), *seen)
        rows.append([split, *(f'{number:,}' for number in numbers)])
    lists = [
        f'{CLASS_FILES[column]}: {len(names)} names, {names[0]!r} to {names[-1]!r}'
        for column, names in annotation.classes.items()
    ]
    head = f'{annotation.dataset}: {", ".join(annotation.sources)}'
    tail = 'Nothing was written (--dry-run).'
    parts = [head, text_table(rows), '\n'.join(lists), _problem_text(annotation.problems), '\n'.join(annotation.notes)]
    return '\n\n'.join(filter(None, [*parts, tail]))


def add_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Adds the arguments that the preparation tools share; ``out`` is the default of the folder to write to."""
    parser.add_argument('--clips', metavar='DIR', help='folder of the clips; they may lie in any subfolder')
    parser.add_argument(
        '--out', metavar='DIR', default=out, help='folder of the manifests, the data_root of configs (%(default)s)'
    )
    parser.add_argument(
        '--pattern', help="name of a clip's file without suffix, in place of the customary ones: '{id}_{start:06d}'"
    )
    parser.add_argument('--dry-run', action='store_true', help='read and check the annotation only, write nothing')


def run(annotation: Annotation, args: argparse.Namespace) -> None:
    """Prepares, or makes a dry run, as the arguments of :func:`add_arguments` say, and prints the result.

    Raises:
        MmavError: See :func:`prepare`.
    """
    if args.dry_run:
        print(dry_run(annotation))
    elif args.clips is None:
        raise MmavError('give the folder of the clips with --clips DIR, or --dry-run to check the annotation only')
    else:
        print(prepare(annotation, args.clips, args.out, pattern=args.pattern, progress=True))


def _split_order(split: str) -> tuple[bool, int]:
    return (split not in SPLITS, SPLITS.index(split) if split in SPLITS else 0)


def _counts(annotation: Annotation, matched: Matched) -> dict[str, dict[str, Any]]:
    found = Counter(clip.split for clip, _ in matched.found)
    missing = Counter(clip.split for clip, _ in matched.missing)
    return {
        split: dict(
            rows=annotation.rows[split], found=found[split], missing=missing[split],
            left_out=annotation.left_out[split], share=_share(found[split], annotation.rows[split]),
        )
        for split in sorted(annotation.rows, key=_split_order)
    }  # fmt: skip


def _share(part: int, whole: int) -> float:
    """Rounded down, so that 1 is nothing less than all."""
    return part * 10000 // whole / 10000


def _worst(annotation: Annotation, matched: Matched) -> list[dict[str, Any]]:
    """The classes with most missing clips; of segments of long files, the files."""

    def group(clip: Clip) -> str:
        return clip.video if annotation.segments else clip.label

    rows, missing = (Counter(map(group, clips)) for clips in (annotation.clips, [clip for clip, _ in matched.missing]))
    names = sorted(missing, key=lambda name: (-missing[name], rows[name], name))[:_WORST]
    return [dict(name=name, missing=missing[name], rows=rows[name]) for name in names]


def _count_table(counts: dict[str, dict[str, Any]]) -> str:
    rows = [['split', 'rows', 'found', 'missing', 'left out', 'share']]
    for split, count in counts.items():
        numbers = [f'{count[name]:,}' for name in ('rows', 'found', 'missing', 'left_out')]
        rows.append([split, *numbers, f'{count["share"]:.2%}'])
    return text_table(rows)


def _worst_text(annotation: Annotation, worst: Iterable[dict[str, Any]]) -> str:
    rows = [[str(row['name']), f'{row["missing"]:,}', f'{row["rows"]:,}'] for row in worst]
    what = 'video' if annotation.segments else 'class'
    return text_table([[f'{what} with most missing', 'missing', 'rows'], *rows]) if rows else ''


def _by_kind(problems: Iterable[Problem]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem.text)
    return kinds


def _problem_text(problems: Iterable[Problem]) -> str:
    lines = []
    for kind, texts in _by_kind(problems).items():
        lines.append(f'{kind}: {len(texts):,}, {WHAT_HAPPENS.get(kind, "left out")}')
        lines += [f'  {text}' for text in texts[:_SHOWN]]
        if len(texts) > _SHOWN:
            lines.append(f'  ... and {len(texts) - _SHOWN:,} more')
    return '\n'.join(lines)


def _prefix(clips: str, out: str) -> str:
    """What to put before paths relative to the clips: the way from ``out`` if they lie inside, else an absolute one."""
    for resolve in (os.path.abspath, os.path.realpath):  # a linked folder of clips stays where it is linked to
        inner, outer = Path(resolve(clips)), Path(resolve(out))
        if inner.is_relative_to(outer):
            way = inner.relative_to(outer).as_posix()
            return '' if way == '.' else f'{way}/'
    return Path(os.path.abspath(clips)).as_posix().rstrip('/') + '/'


def _seconds(value: float) -> str:
    return f'{value:.3f}'.rstrip('0').rstrip('.')


def _manifest(annotation: Annotation, rows: Iterable[tuple[Clip, str]]) -> bytes:
    if not annotation.segments:
        return csv_bytes([['path', *annotation.classes], *([path, *clip.labels] for clip, path in rows)])
    cells = ([path, _seconds(clip.start), _seconds(clip.end), *clip.labels, clip.id] for clip, path in rows)
    return csv_bytes([['path', 'start', 'end', *annotation.classes, 'narration_id'], *cells])


def _missing_table(annotation: Annotation, matched: Matched, patterns: Sequence[str]) -> bytes:
    rows = [
        [clip.split, clip.line, clip.id, _seconds(clip.start), _seconds(clip.end), clip.label,
         expected_name(clip, annotation, patterns), reason]
        for clip, reason in matched.missing
    ]  # fmt: skip
    return csv_bytes([['split', 'line', 'id', 'start', 'end', 'label', 'expected', 'reason'], *rows])


def _write(files: dict[str, bytes], out: str) -> str:
    there = {name for name in files if (Path(out) / name).exists()}
    for name, content in files.items():
        write_output(Path(out) / name, content)
    rows = []
    for name, content in files.items():
        size = f'{content.count(10) - 1:,} rows' if name in ('train.csv', 'test.csv', 'missing.csv') else ''
        rows.append([os.path.join(out, name), size, 'replaced' if name in there else 'new'])
    return text_table([['written', '', ''], *rows], left=3)
