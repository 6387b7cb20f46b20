"""The header of a manifest: which columns are read, which are refused as misnamed, and which are ignored and logged.

A column with almost the name of one that is read, such as ``start_time`` or ``class``, would be ignored silently, and
every clip would be the whole file: it is refused, and the error gives the right name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from mmengine.logging import print_log

from mmav.errors import ManifestError

SPAN = ('start', 'end')
# In place of path, for clips whose video and audio are files of their own: names of the columns.
PAIR = dict(video=('video', 'video_path'), audio=('audio', 'audio_path'))
RATES = ('fps', 'sample_rate')
LABELS = ('label', 'verb', 'noun')


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words that name a column, and words that may be combined with them without changing the meaning.
_MEANS = dict(
    start=_set('start starts starting begin begins beginning onset first from t0 tstart tbegin tmin tin inpoint'),
    end=_set('end ends ending stop stops offset finish fin last to until t1 tend tstop tmax tout outpoint'),
    path=_set(
        'path paths file files filename filenames fname filepath filepaths video videos audio audios clip clips media '
        'wav wave mp4 sound'
    ),
    label=_set('label labels class classes cls category categories target targets classname multilabel multilabels'),
    verb=_set('verb verbs'),
    noun=_set('noun nouns'),
)
_FRAMES = _set('frame frames')
# "first frame" means the start; other columns named first or last may be anything.
_ORDINALS = _set('first last')
_SAMPLES = _set('sample samples')
# words of units that are less than a second -> how many of them make one
_PARTS_OF_SECOND = {
    **dict.fromkeys(_set('ms msec msecs millis millisecond milliseconds'), 1_000),
    **dict.fromkeys(_set('us usec usecs micros microsecond microseconds'), 1_000_000),
    **dict.fromkeys(_set('ns nsec nsecs nanos nanosecond nanoseconds'), 1_000_000_000),
}
# a lone f stands for frames, as in the f_start of lists like ActivityNet's
_BESIDE_TIME = _set(
    'time times timestamp timestamps ts timecode tc hms pts sec secs second seconds s t at pos position idx index trim '
    'crop cut segment seg clip video vid audio youtube yt event action scene shot chunk window interval narration step '
    'min minute minutes hours parent label annotation caption sentence utterance phrase word subtitle moment gt f'
)
_BESIDE_TIME |= _FRAMES | _SAMPLES | frozenset(_PARTS_OF_SECOND)
_PLURALS = _set('labels classes categories targets multilabel multilabels list')
_BESIDE_NAME = _set('name names id ids idx index num number text list')
# kinds of labels: the positive ones of AudioSet, the event labels of DCASE, ...
_KINDS = _set('positive event sound action multi all gt true ground truth')
_BESIDE = dict(
    start=_BESIDE_TIME | _set('offset'),
    end=_BESIDE_TIME,
    path=_MEANS['path'] | _set('name names rel relative abs absolute full vid slice'),
    label=_MEANS['label'] | _BESIDE_NAME | _KINDS,
    verb=_MEANS['label'] | _BESIDE_NAME,
    noun=_MEANS['label'] | _BESIDE_NAME,
)
_LENGTHS = _set('duration durations dur length len')
# Words written together without a separator, as in starttime or videoid.
_TOGETHER = '|'.join(word for word in frozenset({'id'}).union(*_MEANS.values(), *_BESIDE.values()) if len(word) > 1)
_RUN_TOGETHER = re.compile(f'^({_TOGETHER})({_TOGETHER})$')
# A word that shares more than this share of its letters, in order, with a right name is a misspelling of it; so is one
# with the same letters in another order. Most short words are close to some other word.
_LIKE, _LONG = 0.8, 5
# Words too close to others, such as name, sending and tint, to be guessed from a misspelling.
_EXACT = _set('fname starting ending tin tmin tmax tout t0 t1')
_SEPARATORS = (';', '\t', '|')
# Columns of official lists, which name videos and not files -> the command that makes manifests of them.
_OFFICIAL = {
    'positive_labels': 'mmav prepare-audioset',
    'narration_id': 'mmav prepare-epic-kitchens',
    'time_start': 'mmav prepare-kinetics-sounds, or mmav prepare-segments for other classes',
}
_IDS, _ID_OF = _set('ytid vid'), _set('video youtube yt clip vid')


def find_columns(
    path: str, header: Sequence[str], labels: Sequence[str] | None = None, *, others: Sequence[str] = ()
) -> dict[str, int]:
    """Finds the columns of a manifest that are read.

    Other columns are logged once, but refused if they have almost the name of one that is read.

    Args:
        path: The manifest.
        header: Names of its columns, stripped.
        labels: Columns of labels that are read; None to ignore labels.
        others: Columns that the caller reads itself, which are neither logged nor refused.

    Returns:
        Name of each column that is read, including ``start`` and ``end`` if present -> its position. In place of
        ``path`` there may be ``video`` and ``audio``, with ``fps`` and ``sample_rate`` if present.

    Raises:
        ManifestError: A column is missing, occurs twice, or has almost the name of one that is read.
    """
    pair = _pair(path, header)
    needed = (*(pair or ('path',)), *(labels or ()))
    read = (*needed, *SPAN, *(RATES if pair else ()))
    known = read if labels is not None else (*read, *LABELS)
    if not any(header):
        raise ManifestError(f'{path}: the manifest is empty; its first row must be {",".join(needed)}')
    for name in header:
        if name in known and list(header).count(name) > 1:
            raise ManifestError(f'{path}: row 1: column {name!r} occurs twice')
    for name in needed:
        if name not in header:
            found = ', '.join(repr(column) for column in header)
            raise ManifestError(f'{path}: row 1: no column {name!r}, only {found}; {_remedy(name, header, needed)}')
    for name in header:
        if name in known or name in others or _is_event(name, header):
            continue
        meant = near_column(name, [column for column in known if column not in header]) or near_column(name, known)
        if meant is not None:
            raise ManifestError(f'{path}: row 1: column {name!r} is not read; {_rename(name, meant, header)}')
        if 'start' in header and 'end' not in header and set(_words(name)) & _LENGTHS:
            raise ManifestError(
                f"{path}: row 1: column {name!r} is not read; write a column 'end', which is start + {name}"
            )
    extra = [name for name in header if name not in known and name not in others]
    if extra and any(extra):
        say_once(f'{path}: columns that are not read: {", ".join(extra)}')
    if ('start' in header) != ('end' in header):
        missing, what = ('end', 'end at the end') if 'start' in header else ('start', 'begin at the start')
        say_once(f'{path}: no column {missing!r}: clips {what} of their file')
    places = {name: list(header).index(name) for name in known if name in header}
    return {pair.get(name, name): place for name, place in places.items()}


def _pair(path: str, header: Sequence[str]) -> dict[str, str]:
    """Column of a pair of files in a header -> ``video`` or ``audio``; empty if the header has no pair."""
    pair = {name: kind for kind, names in PAIR.items() for name in names if name in header}
    if 'path' not in header:
        for kind, names in PAIR.items():
            if set(names) <= set(header):
                raise ManifestError(
                    f'{path}: row 1: columns {" and ".join(map(repr, names))} both name the {kind}; remove one'
                )
    kinds = set(pair.values())
    # A lone column 'video' is a misnamed path.
    is_pair = kinds == set(PAIR) or (kinds == {'video'} and 'fps' in header)
    return pair if is_pair and 'path' not in header else {}


def near_column(name: str, known: Collection[str]) -> str | None:
    """The column that a name means: a synonym, or a misspelling of the column or a synonym; None for other names.

    >>> near_column('start_time', ['path', 'start']), near_column('EndSec', ['end']), near_column('video_id', ['path'])
    ('start', 'end', None)
    """
    words = _words(name)
    if ''.join(words) in _MEANS['start'] | _MEANS['end']:  # t_min, in_point
        words = [''.join(words)]
    if _ORDINALS & set(words) and not _FRAMES & set(words):
        return None
    for column in known:
        means = _MEANS.get(column, frozenset((column,)))
        if _is(words, means, means | _BESIDE.get(column, frozenset())):
            return column
    return None


def _words(name: str) -> list[str]:
    """The lower-case words of a name in snake case or camel case, with spaces or brackets, or run together."""
    words = re.findall(r'[^\W_]+', re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower())
    return [part for word in words for part in _RUN_TOGETHER.sub(r'\1 \2', word).split()]


def _is(words: Sequence[str], means: Collection[str], allowed: Collection[str]) -> bool:
    """Whether one of the words is in ``means`` and all are allowed; tolerates misspellings."""
    return any(_near(word, means) for word in words) and all(_near(word, allowed) for word in words)


def _near(word: str, right: Collection[str]) -> bool:
    return word in right or any(_misspelt(word, other) for other in right)


def _misspelt(word: str, right: str) -> bool:
    if right in _EXACT or (len(right) < _LONG and right not in _MEANS):
        return False
    like = len(right) >= len('path') and SequenceMatcher(None, word, right).ratio() > _LIKE
    return like or (right in _MEANS and sorted(word) == sorted(right))


def _is_event(name: str, header: Sequence[str]) -> bool:
    """Whether a column is the time of an event within a clip: an onset without an offset, or the other way round.

    Both together, or one with a length, are the span of a clip.
    """
    words = set(_words(name))
    others = {word for column in header if column != name for word in _words(column)}
    return bool(
        ('onset' in words and not others & (_LENGTHS | _MEANS['end']))
        or ('offset' in words and not others & (_LENGTHS | _MEANS['start']))
    )


def _rename(name: str, meant: str, header: Sequence[str]) -> str:
    words = set(_words(name))
    there = meant in header
    also = f', but {meant!r} exists, too: remove one of the two, or rename this one' if there else ''
    if 'offset' in words and not any(near_column(column, ('start',)) for column in header):
        return f"call it 'start' and write a column 'end', in seconds of the file{also}"
    divisor = divisor_of(name) if meant in SPAN else None
    if divisor:
        return f'divide its numbers by {divisor} and call it {meant!r}, in seconds of the file{also}'
    if there:
        return f'it is almost {meant!r}{also}'
    what = ', in seconds of the file' if meant in SPAN else ''
    return f'rename it to {meant!r}{what}{_several(name, meant)}'


def _several(name: str, meant: str) -> str:
    return ', with | between several names' if meant == 'label' and set(_words(name)) & _PLURALS else ''


def divisor_of(name: str) -> str | None:
    """What makes seconds of the times in a column: a rate or a number; None where they are seconds already.

    >>> divisor_of('start_frame'), divisor_of('end_ms'), divisor_of('start_sec')
    ('the frame rate', '1000', None)
    """
    words = set(_words(name))
    if _FRAMES & words or 'f' in words:
        return 'the frame rate'
    if _SAMPLES & words:
        return 'the sample rate'
    return next((str(parts) for word, parts in _PARTS_OF_SECOND.items() if word in words), None)


def is_video_id(name: str) -> bool:
    """Whether a column holds ids of videos, by its name.

    >>> [name for name in ('video_id', 'YTID', 'speaker_id', 'path') if is_video_id(name)]
    ['video_id', 'YTID']
    """
    *of, last = _words(name) or ['']
    return ''.join([*of, last]) in _IDS or (bool(of) and last in ('id', 'uid') and set(of) <= _ID_OF)


def _remedy(missing: str, header: Sequence[str], needed: Sequence[str]) -> str:
    near = [column for column in header if column not in needed and near_column(column, (missing,))]
    if near:
        return f'rename column {near[0]!r} to {missing!r}{_several(near[0], missing)}'
    parts = [name for name in LABELS if name in header]
    if missing == 'label' and parts:
        lists = ', '.join(f"{part}='{part}s.txt'" for part in parts)
        return f'give the dataset classes=dict({lists}) for {" and ".join(f"{part}s" for part in parts)}'
    remedy = f'the first row must name the columns: {",".join(needed)}'
    if header[0].startswith('#'):
        return f"{remedy}; here it is a comment. For AudioSet's official list: mmav prepare-audioset"
    official = next((command for name, command in _OFFICIAL.items() if name in header), None)
    if missing == 'path' and official:
        return f'{remedy}. For an official list: {official}'
    ids = [name for name in header if is_video_id(name)]
    if missing == 'path' and ids:
        return f'{remedy}; {ids[0]!r} names no file: mmav prepare-segments finds the files of a list of videos'
    parted = [mark for mark in _SEPARATORS if mark in header[0]]
    if len(header) == 1 and parted:
        return f'{remedy}; here {parted[0]!r} separates cells, use a comma'
    if any(re.search(r'\.[a-z]\w{1,4}$', cell.lower()) for cell in header):
        return f'{remedy}; here it is a clip, add the names above it'
    return remedy


@lru_cache(maxsize=64)
def say_once(text: str) -> None:
    """Logs a line once; several loaders may read the same manifest."""
    print_log(text, 'current', level=logging.WARNING)
