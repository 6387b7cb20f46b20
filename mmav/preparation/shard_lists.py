"""Index and manifest of shards that others wrote, in WebDataset's layout; the shards stay as and where they are."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from mmav.class_names import read_classes
from mmav.datasets.shards.index import INDEX, IndexBuilder
from mmav.datasets.shards.stores import PIPE, SLOT, ShardAddress, ShardFiles, Store, is_address, open_store, reason_of
from mmav.datasets.shards.tar import Packed, TarScan, TornTar, split_name
from mmav.errors import ConfigError, MmavError
from mmav.outputs import check_folder, write_output
from mmav.parallel import Lost, run_parallel
from mmav.tables import csv_bytes

VIDEO = ('mp4', 'mkv', 'webm', 'avi', 'mov', 'm4v', 'flv', 'mpg', 'mpeg', 'ts', 'wmv', '3gp', 'gif')
AUDIO = ('wav', 'flac', 'mp3', 'm4a', 'aac', 'ogg', 'opus')
# fields of a sample that may say its label
TEXTS = ('cls', 'txt')
LABEL = 'label'
_BRACES = re.compile(r'\{([^{}]*)\}')
_RANGE = re.compile(r'(\d+)\.\.(\d+)')
# no more of a caption is of use as a class
_LONGEST = 200
# Numbers above are names, such as ids, rather than indices.
_CLASSES = 100_000


class Sample(NamedTuple):
    """A sample of a shard: its key, its media files by field, its texts by field, and its ``json``."""

    key: str
    media: dict[str, Packed]
    texts: dict[str, str]
    fields: dict[str, Any] | None


class Found(NamedTuple):
    """What was indexed: numbers of shards and clips, the manifest, what a dataset takes as ``shards``, and remarks."""

    shards: int
    clips: int
    manifest: Path
    place: str
    notes: list[str]


def expand(pattern: str) -> list[str]:
    """The names that a pattern with braces stands for, as of a shell.

    >>> expand('a-{08..10}.tar'), expand('{train,val}.tar')
    (['a-08.tar', 'a-09.tar', 'a-10.tar'], ['train.tar', 'val.tar'])
    """
    choices = [[text] if k % 2 == 0 else _choices(text) for k, text in enumerate(_BRACES.split(pattern))]
    return [''.join(parts) for parts in product(*choices)]


def _choices(text: str) -> list[str]:
    found = _RANGE.fullmatch(text)
    if not found:
        return text.split(',')
    first, last = int(found[1]), int(found[2])
    width = len(found[1]) if found[1].startswith('0') or len(found[1]) == len(found[2]) else 0
    return [f'{number:0{width}d}' for number in range(first, last + 1)]


def find_shards(pattern: str) -> tuple[str, list[str]]:
    """Where shards are, see :func:`~mmav.datasets.shards.stores.open_store`, and their names.

    Args:
        pattern: A folder or an address of one, a pattern of names with braces, or a command with such a pattern.

    Raises:
        ConfigError: There are none, they are in several folders, or the pattern has a star.
    """
    if '*' in pattern and not pattern.startswith(PIPE):
        raise ConfigError(f"'{pattern}': write braces in place of the star, as {{000..099}}.tar, or give the folder")
    place, names = _find_shards(pattern)
    if not names:
        raise ConfigError(f"'{pattern}' stands for no shard: a range goes upwards, as {{000..099}}")
    return place, names


def _find_shards(pattern: str) -> tuple[str, list[str]]:
    if pattern.startswith(PIPE):
        words = pattern.removeprefix(PIPE).split()
        at = [k for k, word in enumerate(words) if '{' in word]
        if len(at) != 1:
            raise ConfigError(f"'{pattern}': give one name of shards with braces, as in pipe:cat data/{{000..099}}.tar")
        folder, slash, names = words[at[0]].rpartition('/')
        words[at[0]] = f'{folder}{slash}{SLOT}'
        return PIPE + ' '.join(words), expand(names)
    if '{' not in pattern and not pattern.endswith('.tar'):
        store = ShardAddress(pattern) if is_address(pattern) else ShardFiles(os.path.expanduser(pattern))
        place = store.address if isinstance(store, ShardAddress) else store.folder
        shards = sorted(name for name in store.names() if name.endswith('.tar'))
        if not shards:
            raise ConfigError(f"no shard, *.tar, in '{pattern}': give a folder of shards or a pattern of their names")
        return place, shards
    folder, _, name = pattern.rpartition('/')
    if '{' in folder:
        raise ConfigError(f"'{pattern}': the shards are in several folders: index each of them by itself")
    return folder if is_address(folder) else os.path.abspath(os.path.expanduser(folder)), expand(name)


def index_others(
    pattern: str,
    out: Path,
    *,
    name: str = 'train',
    media: str | None = None,
    label_field: str | None = None,
    jobs: int | None = None,
) -> Found:
    """Indexes shards, and writes a manifest of their clips, and the list of classes if there is none.

    Args:
        pattern: The shards, see :func:`find_shards`.
        out: Folder of the dataset; the index goes to ``shards/NAME``.
        name: Name of the manifest, without suffix.
        media: Which file of a sample is the clip; None for the only one that is a video or audio file.
        label_field: Where the label is: 'cls', 'txt', or a field of 'json'; None for the only one of 'cls', 'txt' and
            the field 'label' that samples have.
        jobs: Processes; defaults to one per core.

    Raises:
        ConfigError: There are no shards or no clips, or it is not clear which file is the clip or where labels are.
        MmavError: A shard is missing or torn, a sample has no label, or one that is not in the list of classes.
    """
    place, names = find_shards(pattern)
    store = open_store(place)
    index_place = f'shards/{name}'
    check_folder(out, [f'{name}.csv', f'{index_place}/{INDEX}'])
    found: dict[int, tuple[int, list[Sample]]] = {}
    for k, result in run_parallel(partial(_scan, store), names, jobs=jobs, label='indexing'):
        if isinstance(result, Lost):
            raise MmavError(f'{store.where(names[k])}: reading it {result.reason}')
        found[k] = result
    samples = [(names[k], sample) for k in sorted(found) for sample in found[k][1]]
    which = _label_field([sample for _, sample in samples], label_field)
    builder, rows, notes, without = IndexBuilder(place), list[list[str]](), list[str](), 0
    for k, shard in enumerate(names):
        builder.add_shard(shard, found[k][0])
        for sample in found[k][1]:
            chosen = _clip_of(store.where(shard), sample, media)
            if chosen is None:
                without += 1
                continue
            field, packed = chosen
            path = f'{shard.removesuffix(".tar")}/{sample.key}.{field}'
            builder.add(path, packed.offset, packed.size, packed.checksum)
            rows.append([path, *([_label_of(store.where(shard), sample, which)] if which else [])])
    if not rows:
        fields = sorted({field for _, sample in samples for field in (*sample.media, *sample.texts)})
        there = f'they have {", ".join(fields)}' if fields else 'they are empty, or have other files'
        raise ConfigError(f"no sample of '{pattern}' has {f'a file {media}' if media else 'video or audio'}: {there}")
    if without:
        notes.append(f'{without} samples have no clip and are left out')
    index = builder.finish()
    if which:
        notes.append(_write_classes(out, [row[1] for row in rows]))
    else:
        notes.append('no sample has a label: the manifest is for testing with labelled=False')
    write_output(out / index_place / INDEX, index)
    write_output(out / f'{name}.csv', csv_bytes([['path', *(['label'] if which else [])], *rows]))
    notes.append(f'give its dataset ann_file={name}.csv shards={index_place}')
    return Found(len(names), len(rows), out / f'{name}.csv', index_place, notes)


def _scan(store: Store, shard: str) -> tuple[int, list[Sample]]:
    """Bytes and samples of a shard; neighbours with one key are one sample, as for webdataset."""
    samples, seen = list[Sample](), set[str]()
    try:
        with store.open(shard) as file:
            scan = TarScan(file, keep=lambda name: _suffix(name) in (*TEXTS, 'json'))
            for packed, data in scan:
                parts = split_name(packed.name)
                if parts is None:
                    continue
                key, field = parts[0], parts[1].lower()
                if not samples or samples[-1].key != key:
                    samples.append(Sample(key, {}, {}, None))
                    seen.clear()
                if field in seen:
                    raise ValueError(f'has two files {field!r}; each sample needs a key of its own')
                seen.add(field)
                _add(samples, field, packed, data)
    except (TornTar, OSError) as error:
        raise MmavError(
            f'{store.where(shard)}: {reason_of(error)}; fetch it again, or leave it out of the pattern'
        ) from error
    except ValueError as error:  # of JSON or text, or of two files with one name
        raise MmavError(f'{store.where(shard)}: {samples[-1].key}: {error}') from error
    return scan.size, samples


def _suffix(name: str) -> str:
    return name.rsplit('.', 1)[-1].lower()


def _add(samples: list[Sample], field: str, packed: Packed, data: bytes) -> None:
    sample, suffix = samples[-1], _suffix(field)
    if suffix == 'json':
        fields = json.loads(data)
        if isinstance(fields, dict):
            samples[-1] = sample._replace(fields={**(sample.fields or {}), **fields})
    elif field in TEXTS:
        sample.texts[field] = data.decode().strip()
    elif suffix in VIDEO or suffix in AUDIO:
        sample.media[field] = packed


def _clip_of(shard: str, sample: Sample, media: str | None) -> tuple[str, Packed] | None:
    if media is not None:
        field = media.lower().lstrip('.')
        return (field, sample.media[field]) if field in sample.media else None
    if len(sample.media) > 1:
        raise ConfigError(
            f'{shard}: {sample.key} has several media files, {" and ".join(sample.media)}: say which is the clip with '
            f'--media {next(iter(sample.media))}'
        )
    return next(iter(sample.media.items()), None)


def _label_field(samples: Sequence[Sample], given: str | None) -> str | None:
    """Where labels are; None if there are none."""
    if given is not None:
        return given
    seen: Counter[str] = Counter()
    fields: Counter[str] = Counter()
    for sample in samples:
        seen.update(sample.texts.keys())
        seen.update([LABEL] if LABEL in (sample.fields or {}) else [])
        fields.update((sample.fields or {}).keys())
    if len(seen) > 1:
        raise ConfigError(f'labels could be in {" or ".join(sorted(seen))}: say where with --label-field')
    if not seen and fields:
        raise ConfigError(f'json has no {LABEL!r}, but {", ".join(list(fields)[:20])}: name one with --label-field')
    return next(iter(seen), None)


def _label_of(shard: str, sample: Sample, field: str) -> str:
    value = sample.texts.get(field) if field in TEXTS else (sample.fields or {}).get(field)
    values = [
        each.strip() if isinstance(each, str) else each for each in (value if isinstance(value, list) else [value])
    ]
    if any(isinstance(each, bool) or not isinstance(each, str | int) or each == '' for each in values):
        has = 'no label' if value in (None, '') else f'the label {value!r}'
        raise MmavError(f'{shard}: {sample.key} has {has} in {field!r}: give another --label-field')
    texts = [str(each) for each in values]
    if long := next((text for text in texts if len(text) > _LONGEST or '\n' in text), None):
        raise MmavError(f'{shard}: {sample.key}: {long[:40]!r}... in {field!r} is a text, not the name of a class')
    return '|'.join(texts)


def _write_classes(out: Path, labels: Sequence[str]) -> str:
    """Writes the list of classes unless it is there; checks the labels."""
    path = out / 'classes.txt'
    found = list(dict.fromkeys(name.strip() for label in labels if label for name in label.split('|')))
    if not found:
        raise ConfigError('all lists of labels are empty: name another --label-field')
    if path.is_file():
        names = read_classes(str(path))
        known = {*names, *map(str, range(len(names)))}
        if unknown := [name for name in found if name not in known]:
            raise MmavError(f'{path} has no class {unknown[0]!r}, as a sample has: mend the list, or move it away')
        return f'the classes are those of {path}'
    if all(name.isdecimal() and name.isascii() and int(name) < _CLASSES for name in found):
        # indices, of which some may have no clip
        names = tuple(map(str, range(max(map(int, found)) + 1)))
    else:
        names = tuple(sorted(found))
    write_output(path, '\n'.join(names) + '\n')
    return f'{len(names)} classes: {path}'
