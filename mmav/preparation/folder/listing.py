"""What a folder of clips says about them: their classes, by sub-folders or manifests, and which are for what."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mmav.class_names import read_classes
from mmav.datasets.label_cells import SEPARATOR
from mmav.datasets.manifest import Manifest, read_manifest
from mmav.datasets.manifest_table import read_table
from mmav.errors import ManifestError, MmavError, did_you_mean
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder, folder_key

# part of the data -> names of its folder; its manifest is PART.csv
PARTS = dict(
    train=('train', 'training'),
    val=('val', 'valid', 'validation', 'dev'),
    test=('test', 'testing'),
)
CLASS_FILE = 'classes.txt'
_PART_OF = {name: part for part, names in PARTS.items() for name in names}


class ListedClip(NamedTuple):
    """A clip of the folder.

    Attributes:
        path: Its file, relative to the folder, with ``/``.
        label: Name of its class.
        part: 'train', 'val' or 'test' where the folder says so, else None.
        start: Its start in seconds of the file; None for the file's.
        end: Its end in seconds of the file; None for the file's.
    """

    path: str
    label: str
    part: str | None
    start: float | None = None
    end: float | None = None


@dataclass
class Listing:
    """The clips of a folder.

    Attributes:
        root: The folder.
        layout: How the folder says what is what, in words.
        clips: Its clips.
        classes: Names of the classes, in the order of their indices.
        given: Part -> the user's manifest.
        class_file: The user's class list, if there is one.
        notes: What was left out, or may surprise.
    """

    root: Path
    layout: str
    clips: list[ListedClip]
    classes: tuple[str, ...]
    given: dict[str, Path] = field(default_factory=dict)
    class_file: Path | None = None
    notes: list[str] = field(default_factory=list)


def list_folder(root: str | os.PathLike[str], *, progress: bool = False) -> Listing:
    """Lists the clips of a folder.

    Manifests (``train.csv``, ``val.csv``, ``test.csv``) are used as they are. Without them, files belong to the class
    that their sub-folder is named after, directly in the folder or in its ``train``, ``val`` and ``test``. The class
    list is ``classes.txt`` if there is one, else all names, sorted, numbers by their value.

    Args:
        root: The folder.
        progress: Whether to show how many files were seen.

    Raises:
        MmavError: The folder cannot be read, holds no media files, or tells fewer than two classes apart; or a manifest
            or the class list is wrong.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        kind = 'is a file' if root.is_file() else 'does not exist'
        raise MmavError(f"'{root}' {kind}: give a folder of clips")
    try:
        os.listdir(root)
    except OSError as error:
        raise MmavError(f"the folder '{root}' cannot be read: {error.strerror}; change its permissions") from error
    class_file = root / CLASS_FILE
    listed = read_classes(str(class_file)) if class_file.is_file() else None
    manifests = {part: root / f'{part}.csv' for part in PARTS if (root / f'{part}.csv').is_file()}
    found = _by_manifests(root, manifests, listed) if manifests else _by_folders(root, listed, progress)
    found.class_file = class_file if listed else None
    if len(found.classes) < 2:
        raise MmavError(
            f"'{root}' has one class only, {found.classes[0]!r}: a model needs two or more to tell apart, each in a "
            'sub-folder of its own'
        )
    return found


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts numbers inside names by their value.

    >>> sorted(['10', '9', 'a10', 'a9'], key=natural_order)
    ['9', '10', 'a9', 'a10']
    """
    parts = re.findall(r'\d+|\D+', name)
    return tuple((0, int(part), '') if part.isdecimal() else (1, 0, part) for part in parts)


def _by_manifests(root: Path, manifests: dict[str, Path], listed: Sequence[str] | None) -> Listing:
    if 'train' not in manifests:
        there = ' and '.join(path.name for path in manifests.values())
        raise ManifestError(f"'{root}' has {there} but no train.csv: write one (columns path,label)")
    names = listed
    layout = _joined([path.name for path in manifests.values()])
    tables = [read_table(str(path), ('label',)) for path in manifests.values()]
    cells = {table.named(row)['label'] for table in tables for _, row in table.rows}
    several = sorted(cell for cell in cells if SEPARATOR in cell and cell not in (names or ()))
    if several:
        raise ManifestError(
            f"'{root}': the label {several[0]!r} in {layout} is several; give each clip one, or train a config with a "
            'MultiLabelHead and multi_label=True'
        )
    if names is None:
        names = sorted(cells, key=natural_order)
    clips: list[ListedClip] = []
    for part, path in manifests.items():
        rows: Manifest = read_manifest(str(path), names)
        for row in (rows[k] for k in range(len(rows))):
            clips.append(ListedClip(row.path, names[row.label['label']], part, row.start, row.end))
    return Listing(root, layout, clips, tuple(names), given=manifests)


def _by_folders(root: Path, listed: Sequence[str] | None, progress: bool) -> Listing:
    folder = ClipFolder(str(root), progress=progress, media=SUFFIXES | AUDIO_SUFFIXES)
    if not folder.media:
        raise MmavError(
            f"no media files in '{root}' ({folder.describe()}): put the clips of each class into a sub-folder named "
            'after it'
        )
    notes = [f'{path}: {reason}' for path, reason in folder.unusable]
    places = [PurePosixPath(path).parts for path in folder.paths]
    loose = [parts[0] for parts in places if len(parts) == 1]
    tops = sorted({parts[0] for parts in places if len(parts) > 1})
    parted = bool(tops) and all(name.lower() in _PART_OF for name in tops)
    if not parted:
        _require_no_parts(root, tops, places)
    clips: list[ListedClip] = []
    for parts in places:
        depth = 1 if parted else 0
        if len(parts) <= depth + 1:
            continue
        part = _PART_OF[parts[0].lower()] if parted else None
        clips.append(ListedClip('/'.join(parts), parts[depth], part))
    if parted:
        outside = ['/'.join(parts) for parts in places if len(parts) == 2]
        loose += outside
        if clips and not any(clip.part == 'train' for clip in clips):
            raise MmavError(f"'{root}' has a folder {tops[0]!r} but no 'train': add one, or move the classes up")
    if not clips:
        raise MmavError(
            f"the {len(places):,} media files of '{root}' are in no sub-folder of a class: put the clips of each class "
            'into a sub-folder named after it, or write train.csv (columns path,label)'
        )
    bare = _without_media(root, tops if parted else [''], places, [path for path, _ in folder.unusable])
    if bare:
        notes.append(f'{_counted(bare, "sub-folder")} without media files left out')
    if loose:
        notes.append(f'{_counted(loose)} in no sub-folder of a class {"was" if len(loose) == 1 else "were"} left out')
    classes = _checked_classes(root, {clip.label for clip in clips}, listed, notes)
    layout = f'sub-folders {" and ".join(tops)}, in each one a class' if parted else 'a sub-folder for each class'
    if len(classes) == 1 and not parted:
        inner = sorted({parts[1] for parts in places if len(parts) > 2})
        if len(inner) > 1:
            raise MmavError(
                f"'{root}' has one class only, {classes[0]!r}; if its sub-folders ({', '.join(inner[:3])}"
                f"{', ...' * (len(inner) > 3)}) are the classes, give '{root / classes[0]}'"
            )
    return Listing(root, layout, clips, classes, notes=notes)


def _require_no_parts(root: Path, tops: Sequence[str], places: Sequence[tuple[str, ...]]) -> None:
    """Refuses train and test with the same sub-folders beside others: they would be taken for classes."""
    inner = {top: {parts[1] for parts in places if parts[0] == top and len(parts) > 2} for top in tops}
    named = [top for top in tops if top.lower() in _PART_OF]
    if len(named) > 1 and set.intersection(*(inner[top] for top in named)):
        others = ', '.join(repr(top) for top in tops if top not in named)
        raise MmavError(
            f"'{root}' has {_joined(named)} with the same sub-folders, and {others} beside them: move that elsewhere "
            'if they are for training and testing, or rename them if they are classes'
        )


def _checked_classes(root: Path, found: set[str], listed: Sequence[str] | None, notes: list[str]) -> tuple[str, ...]:
    """The class list; sub-folders that differ in case or separators only are two spellings of one class."""
    if listed is not None:
        strange = sorted(found - {*listed})
        if strange:
            raise ManifestError(
                f'{root / CLASS_FILE}: the sub-folder {strange[0]!r} is not in the class list'
                f'{did_you_mean(strange[0], listed)}; add it to the list, or rename the folder'
            )
        empty = [name for name in listed if name not in found]
        if empty:
            raise ManifestError(f'{root / CLASS_FILE}: class {empty[0]!r} has no clip; remove the line')
        return tuple(listed)
    names = sorted(found, key=natural_order)
    spellings = Counter(map(folder_key, names))
    spaced = [name for name in names if name != name.strip()]
    if spaced:
        raise MmavError(
            f"'{root}' has a sub-folder {spaced[0]!r}, with a space at one end, which lists of clips do not keep: "
            'rename it'
        )
    twice = [name for name in names if spellings[folder_key(name)] > 1 and folder_key(name)]
    if twice:
        notes.append(f'the classes {" and ".join(map(repr, twice))} differ only in how they are written: one class?')
    return tuple(names)


def _without_media(
    root: Path, above: Sequence[str], places: Sequence[tuple[str, ...]], known: Sequence[str]
) -> list[str]:
    """Sub-folders where a class would be, of which no file is listed, nor a reason known."""
    used = {'/'.join(parts[:depth]) for parts in places for depth in (1, 2)}
    found = [os.path.join(top, name) for top in above for name in sorted(os.listdir(root / top))]
    folders = [path for path in found if os.path.isdir(root / path) and not os.path.basename(path).startswith('.')]
    return [path for path in folders if path not in used and path not in known]


def _joined(names: Sequence[str]) -> str:
    return ' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))


def _counted(paths: Iterable[str], what: str = 'file', most: int = 3) -> str:
    names = list(paths)
    more = f' and {len(names) - most:,} more' if len(names) > most else ''
    return f'{len(names):,} {what}{"s" * (len(names) != 1)} ({", ".join(names[:most])}{more})'
