"""CREMA-D: 7,442 clips of 91 actors who speak 12 sentences in six emotions, which the names of the files tell.

Source: CheyneyComputerScience/CREMA-D (Cao et al. 2014; Open Database License). Two ways to split it:

- ``official``: the lists of OGM-GE (GeWu-Lab/OGM-GE_CVPR2022, data/CREMAD), on which BalanceBenchmark reports, too. All
  actors are in both.
- ``speakers``: five folds of actors, so that no one is both in training and in test.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmav.errors import ManifestError, MmavError
from mmav.files import read_text
from mmav.preparation.annotations import SPLITS, UNKNOWN_LABEL, AnnotatedClip, Annotation, BadRow, Row
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder
from mmav.tables import text_table

# in the order of OGM-GE's and BalanceBenchmark's class_dict, which is that of stat.csv beside the lists
EMOTIONS = dict(NEU='neutral', HAP='happy', SAD='sad', FEA='fear', DIS='disgust', ANG='anger')
SENTENCES = ('IEO', 'TIE', 'IOM', 'IWW', 'TAI', 'MTI', 'IWL', 'ITH', 'DFA', 'ITS', 'TSI', 'WSI')
LEVELS = ('LO', 'MD', 'HI', 'XX')
FIRST_ACTOR = 1001
# Fold of each actor, 1001 first: ordered by sex, race, age and number (VideoDemographics.csv), every fifth one is in
# the same fold, so that the five have the same number of women and of men of all ages, as far as 91 can be divided.
FOLDS = '4343451551142513423223412223424551344455123223354113454411523255125433311325251142315342115'
NUM_FOLDS = 5
OFFICIAL, SPEAKERS = 'official', 'speakers'
# Columns that hold the names of clips: of SentenceFilenames.csv, and of processedResults/summaryTable.csv
_NAME_COLUMNS = ('Filename', 'FileName')


def read_crema_d(
    lists: Sequence[str] = (),
    *,
    split: str = OFFICIAL,
    fold: int | None = None,
    demographics: str | None = None,
    clips: str | None = None,
) -> Annotation:
    """Reads the lists of CREMA-D, or the names of its files.

    Args:
        lists: For ``official``, OGM-GE's ``train.csv`` and ``test.csv``, without a header: ``1012_IEO_FEA_HI,FEA``. For
            ``speakers``, the dataset's ``SentenceFilenames.csv`` or ``processedResults/summaryTable.csv``, or OGM-GE's;
            none to take the clips that are there, of which it is not known what is missing.
        split: ``official`` or ``speakers``.
        fold: Which fold of actors is for testing, 1 (the default) to 5; the next one is for validation, and the other
            three are for training. For ``speakers`` only.
        demographics: ``VideoDemographics.csv``, to report who is in each split.
        clips: Folder of the clips, for ``speakers`` without lists.

    Raises:
        ManifestError: A file cannot be read, or none of its rows can be used.
        MmavError: The split cannot be made of what is given.
    """
    if split not in (OFFICIAL, SPEAKERS):
        raise MmavError(f'split {split!r} is neither {OFFICIAL} nor {SPEAKERS}')
    if split == OFFICIAL and fold is not None:
        raise MmavError(f'--fold {fold} has no effect on the official split: leave it out, or give --split {SPEAKERS}')
    fold = 1 if fold is None else fold
    if not 1 <= fold <= NUM_FOLDS:
        raise MmavError(f'--fold {fold}: there are folds 1 to {NUM_FOLDS}')
    splits = SPLITS if split == OFFICIAL else ('train', 'val', 'test')
    annotation = Annotation(
        'CREMA-D',
        dict(label=tuple(EMOTIONS.values())),
        patterns=('{id}',),
        fields=('id', 'label'),
        suffix='.flv',
        splits=splits,
    )
    annotation.is_whole = True

    def parse(row: Row) -> AnnotatedClip:
        name = row.cells[0]
        if split == OFFICIAL:
            row.split = Path(row.source).stem
        actor, emotion = parse_name(name)
        if split == SPEAKERS:
            row.split = part_of_actor(actor, fold)
        if len(row.cells) > 1 and row.cells[1] != emotion:
            raise BadRow(f'label {row.cells[1]!r}, but {name} is {emotion}', UNKNOWN_LABEL)
        return row.clip(name, 0, 1, EMOTIONS[emotion])

    _require_lists(lists, split, clips)
    for path in lists:
        header = read_text(path, 'annotation file', remedy='give the official file').partition('\n')[0]
        columns = [name for name in _NAME_COLUMNS if name in _cells_of(header)]
        if split == OFFICIAL and (Path(path).stem not in SPLITS or columns):
            raise ManifestError(
                f'{path}: the official split is in train.csv and test.csv of OGM-GE, without a header; give these, or '
                f'--split {SPEAKERS}'
            )
        annotation.read(path, parse, columns[:1])
    if not lists and clips is not None:
        _read_names(annotation, clips, fold)
    if split == OFFICIAL:
        for part in SPLITS:
            if part not in annotation.rows:
                annotation.notes.append(f'no {part} list is given')
    annotation.remove_duplicates()
    _tell_actors(annotation, split, fold, demographics)
    return annotation


def parse_name(name: str) -> tuple[int, str]:
    """Actor and emotion of a clip's name.

    Raises:
        BadRow: It is not the name of a clip of CREMA-D.

    >>> parse_name('1012_IEO_FEA_HI')
    (1012, 'FEA')
    """
    parts = re.fullmatch(r'(\d{4})_([A-Z]{3})_([A-Z]{3})_([A-Z]{2})', name, re.ASCII)
    if not parts:
        raise BadRow(f'{name!r} is not of the form ACTOR_SENTENCE_EMOTION_LEVEL, such as 1012_IEO_FEA_HI')
    if not 0 <= int(parts[1]) - FIRST_ACTOR < len(FOLDS):
        raise BadRow(f'{name}: there are actors {FIRST_ACTOR} to {FIRST_ACTOR + len(FOLDS) - 1}')
    for what, value, known in zip(
        ('sentence', 'emotion', 'level'), parts.groups()[1:], (SENTENCES, EMOTIONS, LEVELS), strict=True
    ):
        if value not in known:
            raise BadRow(f'{name}: {what} {value!r} is none of {", ".join(known)}', UNKNOWN_LABEL)
    return int(parts[1]), parts[3]


def part_of_actor(actor: int, fold: int) -> str:
    """The split of an actor where a fold is for testing, and the next one for validation.

    >>> part_of_actor(1001, 4), part_of_actor(1001, 3), part_of_actor(1001, 1)
    ('test', 'val', 'train')
    """
    ahead = (int(FOLDS[actor - FIRST_ACTOR]) - fold) % NUM_FOLDS
    return ('test', 'val')[ahead] if ahead < 2 else 'train'


def _require_lists(lists: Sequence[str], split: str, clips: str | None) -> None:
    if lists:
        return
    if split == OFFICIAL:
        raise MmavError(
            'the official split is that of OGM-GE: give its data/CREMAD/train.csv and test.csv '
            f'(github.com/GeWu-Lab/OGM-GE_CVPR2022), or --split {SPEAKERS}'
        )
    if clips is None:
        raise MmavError(
            'without a list the clips are those of a folder: give it with --clips, or SentenceFilenames.csv'
        )


def _read_names(annotation: Annotation, clips: str, fold: int) -> None:
    """Takes the names of the files of a folder for a list, each once."""
    paths = ClipFolder(str(Path(clips).expanduser()), media=SUFFIXES | AUDIO_SUFFIXES).paths
    names = dict.fromkeys(sorted(Path(path).stem for path in paths))
    for number, name in enumerate(names, start=1):
        row = Row(clips, number)
        try:
            actor, emotion = parse_name(name)
        except BadRow:
            continue  # the report lists files that are no clips
        row.split = part_of_actor(actor, fold)
        annotation.rows[row.split] += 1
        annotation.clips.append(row.clip(name, 0, 1, EMOTIONS[emotion]))
    if not annotation.clips:
        first = f', such as {paths[0]!r}' if paths else ''
        raise MmavError(
            f"'{clips}' has {len(paths):,} media files{first}, and none with a name of CREMA-D, such as "
            '1012_IEO_FEA_HI.flv'
        )
    annotation.notes.append('no list is given: the clips are those of the folder, so none can be missing')


def _tell_actors(annotation: Annotation, split: str, fold: int, demographics: str | None) -> None:
    """Notes on who is in which split."""
    actors = {
        part: sorted({int(clip.id[:4]) for clip in annotation.clips if clip.split == part})
        for part in annotation.splits
    }
    if split == OFFICIAL:
        shared = {*actors['train']} & {*actors['test']}
        if shared:
            annotation.notes.append(
                f'{len(shared)} of the {len(actors["test"])} actors of the test clips are in training, too: accuracy '
                f'is that for known speakers (--split {SPEAKERS} for new ones)'
            )
    else:
        for part in ('val', 'test'):
            names = ', '.join(map(str, actors[part]))
            annotation.notes.append(f'fold {fold}, {part}: {len(actors[part])} actors, {names}')
    if demographics is None:
        return
    people = read_demographics(demographics)
    lost = sorted({actor for part in actors.values() for actor in part} - people.keys())
    if lost:
        raise ManifestError(f'{demographics}: actor {lost[0]} is not there; give the official VideoDemographics.csv')
    rows = [['split', 'actors', 'women', 'men', 'age', 'race']]
    for part, numbers in actors.items():
        group = [people[number] for number in numbers]
        if group:
            ages = [int(person['Age']) for person in group]
            sexes = Counter(person['Sex'] for person in group)
            races = Counter(person['Race'] for person in group)
            rows.append(
                [part, str(len(group)), str(sexes['Female']), str(sexes['Male']), f'{sum(ages) / len(ages):.1f}']
                + [', '.join(f'{number} {name}' for name, number in races.most_common())]
            )
    annotation.notes.append(text_table(rows, left=1))


def read_demographics(path: str) -> dict[int, dict[str, str]]:
    """Reads VideoDemographics.csv: actor -> ``Age``, ``Sex`` and ``Race``.

    Raises:
        ManifestError: It cannot be read, or is another file.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, 'table of actors', remedy='give VideoDemographics.csv')))
    needed = ('ActorID', 'Age', 'Sex', 'Race')
    for name in needed:
        if name not in (reader.fieldnames or ()):
            raise ManifestError(f'{path}: line 1: no column {name!r}; give the official VideoDemographics.csv')
    people: dict[int, dict[str, str]] = {}
    for row in reader:
        if not all((row[name] or '').isdecimal() for name in ('ActorID', 'Age')):
            raise ManifestError(f'{path}: line {reader.line_num}: ActorID and Age are not whole numbers')
        people[int(row['ActorID'])] = {name: row[name] or '' for name in needed}
    return people


def _cells_of(header: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([header]), [])]
