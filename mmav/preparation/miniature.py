"""Miniature trees of the paper's datasets: a few made clips, under the names and lists of the official ones.

They let the whole way be tried where the datasets are not: official lists, preparation, training, tables. Pictures and
sounds are those of :mod:`mmav.preparation.avsynth`, so that classes can be learned; what a model reaches on them says
nothing about the real datasets.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mmav.errors import ConfigError, OutputError, did_you_mean
from mmav.outputs import check_folder, write_output
from mmav.preparation.annotations import read_labels
from mmav.preparation.avsynth.encode import encode_mp4
from mmav.preparation.avsynth.render_audio import render_audio
from mmav.preparation.avsynth.render_video import render_video
from mmav.preparation.avsynth.spec import SOUND_EVENTS, VISUAL_EVENTS
from mmav.preparation.epic_kitchens import CLASS_LISTS, LISTS, TAILS
from mmav.tables import csv_bytes

MARK = 'miniature.json'
SECONDS, FPS, SIZE, SAMPLE_RATE = 2.0, 8, 48, 16000
EPIC_CLASSES = dict(verb=97, noun=300)
_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
_CLASSES = len(VISUAL_EVENTS)


class _Tree(NamedTuple):
    """Files of a tree: lists are ready, clips are made one by one."""

    lists: dict[str, bytes]
    clips: dict[str, Callable[[], bytes]]
    prepare: str


def make_miniature(
    dataset: str, out: str | os.PathLike[str], *, train: int = 24, test: int = 12, seed: int = 0, progress: bool = True
) -> str:
    """Writes a miniature tree; does nothing where it is complete, and goes on where it was interrupted.

    Args:
        dataset: One of :data:`TREES`.
        out: Folder; new, empty, or of an earlier call with the same arguments.
        train: Clips of the training list; segments for EPIC-Kitchens-100.
        test: Clips of the test list, which is Kinetics-400's and EPIC-Kitchens-100's validation list.
        seed: Root of all randomness.
        progress: Whether to show a progress bar.

    Returns:
        The command that prepares it, as for the official dataset.

    Raises:
        ConfigError: There is no such dataset, or a number is too small.
        OutputError: The folder holds other files, or a tree of other numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = make_miniature('vggsound', folder, train=1, test=1, progress=False)
        ...     print((Path(folder) / 'vggsound.csv').read_text().count('\\n'))
        2
    """
    if dataset not in TREES:
        raise ConfigError(f'no miniature of {dataset!r}{did_you_mean(dataset, TREES)}: choose {", ".join(TREES)}')
    for name, value, least in (('train', train, 1), ('test', test, 1), ('seed', seed, 0)):
        if value < least:
            raise ConfigError(f'{name} is {value}: take {least} or more')
    out = Path(out)
    wanted = dict(dataset=dataset, train=train, test=test, seed=seed)
    _check_folder(out, wanted)
    tree = TREES[dataset](train, test, seed, shlex.quote(str(out)))
    write_output(out / MARK, json.dumps(wanted) + '\n')
    for name, content in tree.lists.items():
        write_output(out / name, content)
    for name, make in tqdm(tree.clips.items(), dataset, unit='clip', disable=not progress):
        if not (out / name).exists():  # files appear whole or not at all
            write_output(out / name, make())
    return tree.prepare


def _check_folder(out: Path, wanted: dict[str, Any]) -> None:
    check_folder(out)
    try:
        found = json.loads((out / MARK).read_text(encoding='utf-8'))
    except FileNotFoundError:
        if out.is_dir() and any(out.iterdir()):
            raise OutputError(
                f"'{out}' holds files that are no miniature tree: give a new or an empty folder"
            ) from None
        return
    except ValueError:
        found = None
    if found != wanted:
        raise OutputError(f"'{out}' holds the miniature tree {found}, not {wanted}: give another folder")


def _film(seed: int, numbers: Sequence[int]) -> Callable[[], bytes]:
    """What makes a file of clips, one after another: in each, picture and sound are the events of its class."""

    def make() -> bytes:
        frames, waves = [], []
        for number in numbers:
            rng, event = np.random.default_rng([seed, number]), number % _CLASSES
            frames.append(render_video(rng, event, SIZE, seconds=SECONDS, fps=FPS).frames)
            waves.append(render_audio(rng, event, seconds=SECONDS, sample_rate=SAMPLE_RATE).waveform)
        return encode_mp4(np.concatenate(frames), np.concatenate(waves), fps=FPS, sample_rate=SAMPLE_RATE)

    return make


def _youtube_id(seed: int, number: int) -> str:
    rng = np.random.default_rng([seed, number, 1])
    first = '-' if number % 8 == 0 else 'v'  # as some official ids do, which command-line tools take for an option
    return first + ''.join(_ALPHABET[k] for k in rng.integers(len(_ALPHABET), size=10))


def _numbered(train: int, test: int) -> Iterator[tuple[str, int]]:
    """Split and number of each clip; classes take turns with the number."""
    yield from (('train', number) for number in range(train))
    yield from (('test', train + number) for number in range(test))


def _vggsound(train: int, test: int, seed: int, out: str) -> _Tree:
    # labels with a comma among them, which the official list quotes
    names = [name for name in read_labels('vggsound') if ',' in name][:2]
    names += [name for name in read_labels('vggsound') if ',' not in name][: _CLASSES - 2]
    rows: list[Sequence[object]] = []
    clips = {}
    for split, number in _numbered(train, test):
        video, start = _youtube_id(seed, number), 30 + number
        rows.append([video, start, names[number % _CLASSES], split])
        clips[f'clips/{video}_{start:06d}.mp4'] = _film(seed, [number])
    prepare = f'mmav prepare-vggsound {out}/vggsound.csv --clips {out}/clips --out {out}'
    return _Tree({'vggsound.csv': csv_bytes(rows)}, clips, prepare)


def _kinetics_sounds(train: int, test: int, seed: int, out: str) -> _Tree:
    names = read_labels('kinetics_sounds')[:_CLASSES]
    header = ['label', 'youtube_id', 'time_start', 'time_end', 'split', 'is_cc']
    # a class of Kinetics-400 that Kinetics-Sounds does not have
    lists: dict[str, list[Sequence[object]]] = {
        split: [header, ['abseiling', f'abseiling0{split[0]}', 0, 10, split, 0]] for split in ('train', 'val')
    }
    clips = {}
    for split, number in _numbered(train, test):
        name, video = 'train' if split == 'train' else 'val', _youtube_id(seed, number)
        lists[name].append([names[number % _CLASSES], video, number, number + 10, name, 0])
        clips[f'clips/{video}_{number:06d}_{number + 10:06d}.mp4'] = _film(seed, [number])
    files = {split: f'kinetics400_{split}.csv' for split in lists}
    prepare = (
        f'mmav prepare-kinetics-sounds --train {out}/{files["train"]} --test {out}/{files["val"]} '
        f'--clips {out}/clips --out {out}'
    )
    return _Tree({files[split]: csv_bytes(rows) for split, rows in lists.items()}, clips, prepare)


def _epic_kitchens(train: int, test: int, seed: int, out: str) -> _Tree:
    """Untrimmed videos of up to eight segments; those of P18 are of an unseen participant."""
    header = ['narration_id', 'participant_id', 'video_id', 'narration_timestamp', 'start_timestamp', 'stop_timestamp']
    header += ['start_frame', 'stop_frame', 'narration', 'verb', 'verb_class', 'noun', 'noun_class', 'all_nouns']
    header += ['all_noun_classes']
    files, clips = {}, {}
    for split, people in dict(train=('P01', 'P02'), test=('P01', 'P18')).items():
        rows: list[Sequence[object]] = [header]
        numbers = [number for of_split, number in _numbered(train, test) if of_split == split]
        for film, first in enumerate(range(0, len(numbers), 8)):
            video = f'{people[film % 2]}_{film + (1 if split == "train" else 101):02d}'
            segments = numbers[first : first + 8]
            for place, number in enumerate(segments):
                kind = number % _CLASSES
                begin, end = place * SECONDS, (place + 1) * SECONDS
                verb, noun = _epic_name('verb', kind), _epic_name('noun', kind)
                frames = [round(second * FPS) for second in (begin, end)]
                rows.append([f'{video}_{place}', video[:3], video, '', *map(_timestamp, (begin, end)), *frames]
                            + [f'{verb} {noun}', verb, kind, noun, kind, [noun], [kind]])  # fmt: skip
            clips[f'videos/{video}.MP4'] = _film(seed, segments)
        files[f'annotations/{LISTS[split]}'] = csv_bytes(rows)
    for part, count in EPIC_CLASSES.items():
        lines: list[Sequence[object]] = [[k, _epic_name(part, k), [], 'made'] for k in range(count)]
        files[f'annotations/{CLASS_LISTS[part]}'] = csv_bytes([['id', 'key', 'instances', 'category'], *lines])
    for name, part in zip(TAILS, EPIC_CLASSES, strict=True):
        tail: list[Sequence[object]] = [[part], [1], [_CLASSES]]
        files[f'annotations/{name}'] = csv_bytes(tail)
    prepare = f'mmav prepare-epic-kitchens {out}/annotations --clips {out}/videos --out {out}'
    return _Tree(files, clips, prepare)


def _epic_name(part: str, number: int) -> str:
    events = VISUAL_EVENTS if part == 'verb' else SOUND_EVENTS
    return events[number].replace('_', '-') if number < len(events) else f'{part}-{number}'


def _timestamp(seconds: float) -> str:
    return f'00:{int(seconds) // 60:02d}:{seconds % 60:05.2f}'


TREES: dict[str, Callable[[int, int, int, str], _Tree]] = dict(
    vggsound=_vggsound, kinetics_sounds=_kinetics_sounds, epic_kitchens=_epic_kitchens
)
