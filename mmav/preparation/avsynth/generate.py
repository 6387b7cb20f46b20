"""Writes an AVSynth dataset: clips in parallel, then the lists, and meta.json last of all."""

import dataclasses
import functools
import json
import multiprocessing
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmav.parallel import cpu_count, start_worker
from mmav.preparation.avsynth.encode import encode_mp4
from mmav.preparation.avsynth.render_audio import AudioClip, render_audio
from mmav.preparation.avsynth.render_video import VideoClip, render_video
from mmav.preparation.avsynth.spec import SOUND_EVENTS, SPLITS, VISUAL_EVENTS, AVSynthSpec
from mmav.tables import csv_bytes

META = 'meta.json'
UNFINISHED = 'unfinished.json'
_LISTS = ('train.csv', 'val.csv', 'test.csv', 'events.csv', 'boxes.csv')
_CLIP = re.compile(r'\d{5,}\.mp4(\.part)?')
# column of the manifests -> file of its classes
_CLASS_LISTS = dict(label='classes.txt', verb='verbs.txt', noun='nouns.txt')


@dataclasses.dataclass(frozen=True)
class _Row:
    """What the lists need to know of one clip."""

    split: str
    path: str
    visual: int
    sound: int
    onset: float
    offset: float
    boxes: np.ndarray


def generate(
    out: str | os.PathLike[str], *, jobs: int | None = None, force: bool = False, progress: bool = True, **params: Any
) -> bool:
    """Writes a dataset, continues an interrupted one, or finds that it is there.

    The folder gets clips/SPLIT/NNNNN.mp4, train.csv, val.csv and test.csv (path,label) and classes.txt (of the task
    'action' path,verb,noun, verbs.txt and nouns.txt), events.csv (events, sound onset and offset in seconds, box around
    the object's whole path), boxes.csv (the object's box in each frame) and meta.json (all parameters). Boxes are
    x0,y0,x1,y1 in [0, 1]. Without meta.json it is not complete.

    Args:
        out: Folder of the dataset, made if need be.
        jobs: Processes, by default one per available core. They are spawned: a script that calls this with more than
            one needs the usual ``if __name__ == '__main__'``.
        force: Delete a dataset of other parameters first. Never deletes a folder this function has not made, nor a
            file of another name in it.
        progress: Show a progress bar.
        **params: Fields of AVSynthSpec.

    Returns:
        True if clips or lists were written, False if the dataset was complete already.

    Raises:
        ValueError: A parameter is out of its range.
        FileExistsError: The folder holds a dataset of other parameters, or something else, or a list that was changed
            since it was written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     generate(folder, train=16, val=16, test=16, size=32, seconds=1, progress=False)
        ...     print((Path(folder) / 'classes.txt').read_text().split()[:2])
        True
        ['bounce+sweep_up', 'bounce+sweep_down']
    """
    spec = AVSynthSpec(**params)
    out = Path(out)
    if jobs is not None and jobs < 1:
        raise ValueError(f'jobs is {jobs}: take 1 or more')
    emptied = force and _delete(out)
    if not emptied and _is_complete(out, spec):
        return False
    for split in SPLITS:
        (out / 'clips' / split).mkdir(parents=True, exist_ok=True)
    (out / META).unlink(missing_ok=True)
    _write_text(out / UNFINISHED, json.dumps(spec.to_dict(), indent=2) + '\n')

    tasks = [(split, index) for split in SPLITS for index in range(spec.count(split))]
    make = functools.partial(_make_clip, spec, out)
    with tqdm(total=len(tasks), desc='AVSynth', unit='clip', mininterval=0.5, disable=not progress) as bar:
        rows = []
        for row in _map(make, tasks, jobs):
            rows.append(row)
            bar.update()
    _write_lists(out, spec, rows)
    os.replace(out / UNFINISHED, out / META)
    return True


def render_clip(spec: AVSynthSpec, split: str, index: int) -> tuple[VideoClip, AudioClip]:
    """Renders one clip of a dataset; it depends on the spec's seed and format, the split and the index alone."""
    visual, sound = spec.events(split, index)
    video = render_video(spec.rng(split, index, 'video'), visual, spec.size, seconds=spec.seconds, fps=spec.fps)
    audio = render_audio(spec.rng(split, index, 'audio'), sound, seconds=spec.seconds, sample_rate=spec.sample_rate)
    return video, audio


def _make_clip(spec: AVSynthSpec, out: Path, task: tuple[str, int]) -> _Row:
    split, index = task
    video, audio = render_clip(spec, split, index)
    path = spec.clip_path(split, index)
    if not (out / path).exists():  # files appear whole or not at all, so what is there need not be encoded again
        data = encode_mp4(video.frames, audio.waveform, fps=spec.fps, sample_rate=spec.sample_rate)
        part = out / f'{path}.part'
        part.write_bytes(data)
        os.replace(part, out / path)
    visual, sound = spec.events(split, index)
    return _Row(split, path, visual, sound, audio.onset, audio.offset, video.boxes)


def _map(make: functools.partial[_Row], tasks: Sequence[tuple[str, int]], jobs: int | None) -> Iterator[_Row]:
    """Runs the tasks in order of the list; few tasks are not worth starting processes for."""
    if jobs is None:
        jobs = min(cpu_count(), 1 + len(tasks) // 256)
    if jobs == 1:
        yield from map(make, tasks)
        return
    context = multiprocessing.get_context('spawn')
    executor = ProcessPoolExecutor(jobs, context, initializer=start_worker)
    try:
        yield from executor.map(make, tasks, chunksize=8)
    finally:
        executor.shutdown(cancel_futures=True)


def _is_complete(out: Path, spec: AVSynthSpec) -> bool:
    """Whether the folder holds this dataset whole; a folder that must not be written to raises."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is not a folder: give another one')
    found = _read_params(out)
    if found is None:
        if out.exists() and any(out.iterdir()):
            raise FileExistsError(f'{out} holds files that are not an AVSynth dataset: give a new or an empty folder')
        return False
    wanted = spec.to_dict()
    different = [
        f'{key} is {found.get(key)!r} there and {wanted.get(key)!r} here'
        for key in {**wanted, **found}
        if found.get(key) != wanted.get(key)
    ]
    if different:
        raise FileExistsError(
            f'{out} holds a dataset of other parameters ({"; ".join(different)}): '
            'give another folder, or rebuild it with --force (force=True)'
        )
    clips = [spec.clip_path(split, index) for split in SPLITS for index in range(spec.count(split))]
    lists = (*_LISTS, *(_CLASS_LISTS[column] for column in spec.class_lists()))
    return (out / META).exists() and all((out / name).exists() for name in (*lists, *clips))


def _read_params(out: Path) -> dict[str, Any] | None:
    """Parameters of the dataset in a folder, finished or not; None if there is none."""
    for name in (META, UNFINISHED):
        try:
            found = json.loads((out / name).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and found.get('generator') == 'avsynth':
            return found
    return None


def _delete(out: Path) -> bool:
    """Deletes a dataset, if there is one, and no other file of the folder."""
    if _read_params(out) is None:
        return False
    if (out / META).exists():
        os.replace(out / META, out / UNFINISHED)  # a deletion cut short leaves a folder that is known as ours
    for name in (*_LISTS, *_CLASS_LISTS.values()):
        (out / name).unlink(missing_ok=True)
    for folder in (out / 'clips' / split for split in SPLITS):
        for path in folder.glob('*'):
            if _CLIP.fullmatch(path.name):
                path.unlink()
        with suppress(OSError):  # there are files of another's
            folder.rmdir()
    with suppress(OSError):
        (out / 'clips').rmdir()
    (out / UNFINISHED).unlink(missing_ok=True)
    return True


def _write_lists(out: Path, spec: AVSynthSpec, rows: Sequence[_Row]) -> None:
    classes = spec.class_lists()
    for split in SPLITS:
        labels = ((row.path, *spec.labels(row.visual, row.sound).values()) for row in rows if row.split == split)
        _write_csv(out / f'{split}.csv', ('path', *classes), labels)
    for column, names in classes.items():
        _write_list(out / _CLASS_LISTS[column], '\n'.join(names) + '\n')
    corners = ('x0', 'y0', 'x1', 'y1')
    _write_csv(
        out / 'events.csv',
        ('path', 'visual', 'sound', 'onset', 'offset', *corners),
        (
            (row.path, VISUAL_EVENTS[row.visual], SOUND_EVENTS[row.sound], f'{row.onset:.4f}', f'{row.offset:.4f}')
            + _corners(np.concatenate([row.boxes[:, :2].min(axis=0), row.boxes[:, 2:].max(axis=0)]))
            for row in rows
        ),
    )
    _write_csv(
        out / 'boxes.csv',
        ('path', 'frame', 'seconds', *corners),
        (
            (row.path, frame, f'{frame / spec.fps:.4f}', *_corners(box))
            for row in rows
            for frame, box in enumerate(row.boxes)
        ),
    )


def _corners(box: np.ndarray) -> tuple[str, ...]:
    return tuple(f'{value:.4f}' for value in box)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    _write_list(path, csv_bytes([header, *rows]).decode())


def _write_list(path: Path, text: str) -> None:
    """Writes a list; of one dataset it is always the same, so another one that is there was changed by its user."""
    if not path.exists():
        _write_text(path, text)
    elif path.read_bytes() != text.encode():
        raise FileExistsError(
            f'{path} was changed since it was written, and the dataset is not complete: move the file away, then the '
            'same command completes it'
        )


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + '.part')
    part.write_text(text, encoding='utf-8')
    os.replace(part, path)
