"""AudioSet's official lists: parts of YouTube videos, 10 s long but for some, each with one or more of 527 classes.

Classes are those of the official ``class_labels_indices.csv``, in the order of its indices, which published models
share. Names and ids: Gemmeke et al. 2017, "Audio Set: An ontology and human-labeled dataset for audio events"
(research.google.com/audioset, CC BY 4.0); they are the names of the ontology (audioset/ontology, ``ontology.json``),
whose other 105 entries no list uses.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmav.errors import ManifestError, did_you_mean
from mmav.files import read_text
from mmav.preparation.annotations import (
    UNKNOWN_LABEL,
    AnnotatedClip,
    Annotation,
    BadRow,
    Row,
    read_labels,
    youtube_id,
)
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder
from mmav.preparation.clip_matching import Matched
from mmav.preparation.segments import seconds_of

# Of a clip in several lists, the row of the last one stays.
TRAIN_UNBALANCED, TRAIN_BALANCED, TEST = SPLITS = ('train_unbalanced', 'train_balanced', 'test')
LISTS = dict(unbalanced_train_segments=TRAIN_UNBALANCED, balanced_train_segments=TRAIN_BALANCED, eval_segments=TEST)
WHOLE_VIDEO = ('{id}', 'Y{id}')
# Names that public downloaders give: CAV-MAE's, DCASE's, AST's and audiosetdl's among them. PANNs and DCASE put a Y
# before the id, so that no name begins with a hyphen.
PATTERNS = tuple(
    f'{letter}{{id}}{times}'
    for times in (
        '', '_{start:06d}', '_{start}', '_{start_s}', '_{start_ms}', '_{start:06d}_{end:06d}', '_{start}_{end}',
        '_{start_s}_{end_s}', '_{start_ms}_{end_ms}', '_{start}-{end}', '_{start_s}-{end_s}',
    )
    for letter in ('', 'Y')
)  # fmt: skip
FIELDS = ('id', 'start', 'end', 'start_ms', 'end_ms', 'start_s', 'end_s')
CLASS_COLUMNS = ('index', 'mid', 'display_name')


def read_audioset(
    paths: Sequence[str],
    *,
    split: str | None = None,
    classes: str | None = None,
    ontology: str | None = None,
    untrimmed: bool = False,
) -> Annotation:
    """Reads AudioSet's lists.

    A row is ``YTID, start_seconds, end_seconds, "id,id,..."``; lines that begin with ``#`` are comments.

    Args:
        paths: Lists, or folders that have some of the official ones.
        split: Split of lists whose names do not tell it.
        classes: The classes in another order, or some of them, see :func:`read_class_order`. Other labels are left out
            then, and clips that have no other.
        ontology: The official ``ontology.json``: its names are checked, and it tells what ids are that no class has.
        untrimmed: Whether files are whole videos, of which a manifest then gives the parts.

    Raises:
        ManifestError: A file cannot be read, is none of these, or none of its rows can be used.
    """
    official = dict(zip(read_labels('audioset_ids'), read_labels('audioset'), strict=True))
    known = read_ontology(ontology, official) if ontology is not None else {}
    chosen = official if classes is None else read_class_order(classes, official)
    annotation = Annotation(
        'AudioSet',
        dict(label=tuple(chosen.values())),
        patterns=WHOLE_VIDEO if untrimmed else PATTERNS,
        fields=FIELDS,
        segments=untrimmed,
        splits=SPLITS,
    )
    annotation.media = SUFFIXES | AUDIO_SUFFIXES
    annotation.folder_labels = set()  # a clip has several labels, so that its folder's name says nothing
    annotation.id_column = None
    annotation.joined = dict(train=(TRAIN_BALANCED, TRAIN_UNBALANCED))
    annotation.refine = None if untrimmed else _tell_names(annotation)
    reader = _Reader(annotation, official, chosen, known)
    for path, of_list in find_lists(paths, split):
        reader.split = of_list
        annotation.read(path, reader.parse, comment='#')
    if len(chosen) < len(official):
        annotation.notes.append(
            f'{classes}: {len(chosen)} of the {len(official)} classes; {reader.dropped:,} other labels are left out'
        )
    annotation.remove_duplicates()
    return annotation


def find_lists(paths: Sequence[str], split: str | None = None) -> list[tuple[str, str]]:
    """Lists and their splits, by the official names.

    Raises:
        ManifestError: There is nothing at a path, a folder has no list, or a name does not tell the split.
    """
    found: list[tuple[str, str]] = []
    for path in map(Path, paths):
        place = path.expanduser()
        if place.is_dir():
            inside = [place / f'{name}.csv' for name in LISTS if (place / f'{name}.csv').is_file()]
            if not inside:
                raise ManifestError(f"no list in '{path}', none of {', '.join(f'{name}.csv' for name in LISTS)}")
            found += [(str(each), LISTS[each.stem]) for each in inside]
            continue
        if not place.exists():
            raise ManifestError(f"no list or folder '{path}': give the official lists, or the folder that holds them")
        of_name = next((of_list for name, of_list in LISTS.items() if place.name.startswith(name)), None)
        if of_name and split and split != of_name:
            raise ManifestError(f'{path}: --split {split}, but by its name it is {of_name}; rename it, or the option')
        if not of_name and not split:
            raise ManifestError(
                f'{path}: its name does not tell its split; call it {", ".join(f"{name}.csv" for name in LISTS)}, or '
                f'give --split, one of {", ".join(SPLITS)}'
            )
        found.append((str(place), of_name or str(split)))
    return found


class _Reader:
    """Parses rows of lists.

    Attributes:
        split: That of the list.
        dropped: Number of labels that are not among the chosen classes.
    """

    def __init__(
        self,
        annotation: Annotation,
        official: Mapping[str, str],
        chosen: Mapping[str, str],
        ontology: Mapping[str, str],
    ) -> None:
        self._annotation, self._official, self._ontology = annotation, official, ontology
        self._place = {identity: place for place, identity in enumerate(chosen)}
        self._names = tuple(chosen.values())
        self.split, self.dropped = '', 0

    def parse(self, row: Row) -> AnnotatedClip | None:
        row.split = self.split
        if len(row.cells) != 4:
            raise BadRow(f'{len(row.cells)} cells, 4 are right; the labels are in one pair of double quotes')
        video, start, end, labels = row.cells
        youtube_id(video)
        identities = [label.strip() for label in labels.split(',') if label.strip()]
        if not identities:
            raise BadRow('it has no label')
        for identity in identities:
            if identity not in self._official:
                name = self._ontology.get(identity)
                what = f', {name!r} of the ontology,' if name else ''
                raise BadRow(f'label {identity!r}{what} is not one of the {len(self._official)} classes', UNKNOWN_LABEL)
        places = sorted({self._place[identity] for identity in identities if identity in self._place})
        self.dropped += sum(identity not in self._place for identity in identities)
        if not places:
            return None
        return row.clip(video, seconds_of(start), seconds_of(end), '|'.join(self._names[place] for place in places))


def _tell_names(annotation: Annotation) -> Callable[[Matched, ClipFolder], None]:
    def refine(matched: Matched, folder: ClipFolder) -> None:
        """Says how many clips have no picture, and how many files may be whole videos."""
        suffixes = Counter(Path(path).suffix.lower() in AUDIO_SUFFIXES for _, path in matched.found)
        if suffixes[True] and suffixes[False]:
            annotation.notes.append(f'{suffixes[True]:,} of {len(matched.found):,} files are audio alone')
        bare = sum(Path(path).stem in (clip.video, f'Y{clip.video}') for clip, path in matched.found if clip.start)
        if bare:
            annotation.notes.append(
                f'{bare:,} files have the name of their video, without times, and are taken to be its part that the '
                'list names; for whole videos give --untrimmed'
            )

    return refine


def read_class_order(path: str, official: Mapping[str, str]) -> dict[str, str]:
    """Reads classes from ``class_labels_indices.csv``, or a file with a name or an id of a class in each line.

    Args:
        path: The file.
        official: Id of each class -> its name.

    Returns:
        Ids -> names, in the order of the file.

    Raises:
        ManifestError: A class is not one of AudioSet's or occurs twice, or an index is not that of its row.
    """
    lines = read_text(path, 'class list', remedy='give another --classes').split('\n')
    identity_of = {name: identity for identity, name in official.items()}
    is_table = tuple(cell.strip() for cell in lines[0].split(',')) == CLASS_COLUMNS
    chosen: dict[str, int] = {}
    for line, text in enumerate(lines, start=1):
        entry = text.strip()
        if not entry or (is_table and line == 1):
            continue
        where = f'{path}: line {line}'
        if is_table or (entry not in identity_of and entry.startswith('"')):
            cells = next(csv.reader([entry], skipinitialspace=True))
            if is_table and (len(cells) != 3 or cells[0].strip() != str(len(chosen))):
                raise ManifestError(f'{where}: {entry!r} is not {len(chosen)},id,name; give the official file')
            entry = cells[1 if is_table else 0].strip()
        identity = identity_of.get(entry, entry)
        if identity not in official:
            raise ManifestError(f'{where}: AudioSet has no class {entry!r}{did_you_mean(entry, identity_of)}')
        if identity in chosen:
            raise ManifestError(f'{where}: class {official[identity]!r} is already in line {chosen[identity]}')
        chosen[identity] = line
    if not chosen:
        raise ManifestError(f'{path}: no class; write one name a line')
    return {identity: official[identity] for identity in chosen}


def read_ontology(path: str, official: Mapping[str, str]) -> dict[str, str]:
    """Reads the ids and names of ``ontology.json``.

    Args:
        path: The file.
        official: Id of each class -> its name.

    Raises:
        ManifestError: It is no ontology, or names a class otherwise.
    """
    text = read_text(path, 'ontology', remedy='give the official file, or leave --ontology out')
    try:
        known = {str(entry['id']): str(entry['name']) for entry in json.loads(text)}
    except (ValueError, TypeError, KeyError) as error:
        raise ManifestError(f'{path}: it is not a list of entries with id and name; give ontology.json') from error
    for identity, name in official.items():
        if known.get(identity, name) != name:
            raise ManifestError(f'{path}: {identity} is {known[identity]!r} there and {name!r} in the class list')
    missing = [name for identity, name in official.items() if identity not in known]
    if missing:
        raise ManifestError(f'{path}: {len(missing)} classes are not in it, such as {missing[0]!r}; give ontology.json')
    return known
