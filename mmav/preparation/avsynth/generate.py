"""Writes an AVSynth dataset: clips in parallel, then the lists, and meta.json last."""

import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmav.parallel import Lost, run_parallel
from mmav.preparation.avsynth.natural import NATURAL, NaturalSpec, best_accuracies
from mmav.preparation.avsynth.natural.lists import EVIDENCE, make_natural_clip, write_natural_lists
from mmav.preparation.avsynth.render_audio import RenderedAudio, render_audio
from mmav.preparation.avsynth.render_video import RenderedVideo, render_video
from mmav.preparation.avsynth.spec import CORNERS, EVENTS, SEPARATOR, SOUND_EVENTS, SPLITS, VISUAL_EVENTS, AVSynthSpec
from mmav.preparation.avsynth.writing import write_clip, write_list, write_whole
from mmav.tables import csv_bytes
from mmav.threads import cpu_count

META = 'meta.json'
UNFINISHED = 'unfinished.json'
# in meta.json what follows from the parameters
BEST = 'best'
_LISTS = ('train.csv', 'val.csv', 'test.csv', 'events.csv', 'boxes.csv')
# lists that one task has and the others do not
_SOUNDS = 'sounds.csv'
_OWN_LISTS = {EVENTS: _SOUNDS, NATURAL: EVIDENCE}
_CLIP = re.compile(r'\d{5,}\.mp4(\.part)?')
# column of the manifests -> file of its classes
_CLASS_LISTS = dict(label='classes.txt', verb='verbs.txt', noun='nouns.txt')


Spec = AVSynthSpec | NaturalSpec


@dataclasses.dataclass(frozen=True)
class _Row:
    """What the lists say about one clip."""

    split: str
    path: str
    seen: tuple[int, ...]
    heard: tuple[int, ...]
    onset: float
    offset: float
    spans: tuple[tuple[int, float, float], ...]
    boxes: np.ndarray


def generate(
    out: str | os.PathLike[str], *, jobs: int | None = None, force: bool = False, progress: bool = True, **params: Any
) -> bool:
    """Writes a dataset, or continues an interrupted one; does nothing if it is complete.

    The folder gets clips/SPLIT/NNNNN.mp4, train.csv, val.csv and test.csv (path,label) and classes.txt (for the task
    'action' path,verb,noun, verbs.txt and nouns.txt; for 'events' several names in a cell, separated by ``|``, and
    sounds.csv, the onset and offset of each), events.csv (events, sound onset and offset in seconds, box around
    the object's whole path), boxes.csv (the object's box in each frame) and meta.json (all parameters). Boxes are
    x0,y0,x1,y1 in [0, 1]. Without meta.json the dataset is not complete.

    Args:
        out: Folder of the dataset; created if it is missing.
        jobs: Processes; defaults to one per core. A script that calls this with more than one needs the usual
            ``if __name__ == '__main__'``.
        force: Whether to delete a dataset with other parameters first. A folder that this function did not create is
            never deleted, nor is a file with another name in it.
        progress: Whether to show a progress bar.
        **params: Fields of AVSynthSpec; for the task 'natural' of NaturalSpec.

    Returns:
        True if clips or lists were written, False if the dataset was complete already.

    Raises:
        ValueError: A parameter is out of its range.
        FileExistsError: The folder holds a dataset with other parameters, other files, or a list that was changed since
            it was written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     generate(folder, train=16, val=16, test=16, size=32, seconds=1, progress=False)
        ...     print((Path(folder) / 'classes.txt').read_text().split()[:2])
        True
        ['bounce+sweep_up', 'bounce+sweep_down']
    """
    spec = make_spec(**params)
    out = Path(out)
    if jobs is not None and jobs < 1:
        raise ValueError(f'jobs is {jobs}: take 1 or more')
    emptied = force and _delete(out)
    if not emptied and _is_complete(out, spec):
        return False
    for split in SPLITS:
        (out / 'clips' / split).mkdir(parents=True, exist_ok=True)
    (out / META).unlink(missing_ok=True)
    meta = spec.to_dict()
    if isinstance(spec, NaturalSpec):
        meta[BEST] = {name: round(value, 6) for name, value in best_accuracies(spec).items()}
    write_whole(out / UNFINISHED, json.dumps(meta, indent=2).encode() + b'\n')
    tasks = [(split, index) for split in SPLITS for index in range(spec.count(split))]
    make, write = _MAKERS[type(spec)]
    rows = _make_clips(functools.partial(make, spec, out), tasks, jobs, progress=progress)
    for column, names in spec.class_lists().items():
        write_list(out / _CLASS_LISTS[column], '\n'.join([*names, '']).encode())
    write(out, spec, rows)
    os.replace(out / UNFINISHED, out / META)
    return True


def make_spec(task: str = AVSynthSpec.task, **params: Any) -> Spec:
    """The parameters of a dataset of a task; those that are not given have the task's defaults.

    Raises:
        ValueError: A parameter is out of its range, or the task has no such parameter.
    """
    kind: type[Spec] = NaturalSpec if task == NATURAL else AVSynthSpec
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := next((name for name in params if name not in known), None):
        raise ValueError(f'the task {task!r} has no {unknown}: leave it out')
    return kind(task=task, **params)


def render_clip(spec: AVSynthSpec, split: str, index: int) -> tuple[RenderedVideo, RenderedAudio]:
    """Renders one clip of a dataset; it depends on the spec's seed and format, the split and the index alone."""
    visual: Any
    visual, sound = (spec.event_sets if spec.task == EVENTS else spec.events)(split, index)
    video = render_video(spec.rng(split, index, 'video'), visual, spec.size, seconds=spec.seconds, fps=spec.fps)
    audio = render_audio(spec.rng(split, index, 'audio'), sound, seconds=spec.seconds, sample_rate=spec.sample_rate)
    return video, audio


def _make_clip(spec: AVSynthSpec, out: Path, task: tuple[str, int]) -> _Row:
    split, index = task
    video, audio = render_clip(spec, split, index)
    path = spec.clip_path(split, index)
    write_clip(out / path, video.frames, audio.waveform, fps=spec.fps, sample_rate=spec.sample_rate)
    return _Row(split, path, *spec.event_sets(split, index), audio.onset, audio.offset, audio.spans, video.boxes)


def _make_clips(
    make: Callable[[tuple[str, int]], Any], tasks: Sequence[tuple[str, int]], jobs: int | None, *, progress: bool
) -> list[_Row]:
    """Makes all clips, in the order of the tasks; starting processes does not pay for few of them."""
    jobs = jobs or min(cpu_count(), 1 + len(tasks) // 256)
    if jobs == 1:
        return [make(task) for task in tqdm(tasks, 'AVSynth', unit='clip', mininterval=0.5, disable=not progress)]
    rows = dict(run_parallel(make, tasks, jobs=jobs, label='AVSynth', progress=progress))
    if lost := next((row for row in rows.values() if isinstance(row, Lost)), None):
        raise RuntimeError(f'making a clip {lost.reason}')
    return [row for _, row in sorted(rows.items())]  # type: ignore[misc]


def _is_complete(out: Path, spec: Spec) -> bool:
    """Whether the folder holds this dataset complete; raises if it must not be written to."""
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
        if key != BEST and found.get(key) != wanted.get(key)
    ]
    if different:
        raise FileExistsError(
            f'{out} holds a dataset of other parameters ({"; ".join(different)}): '
            'give another folder, or rebuild it with --force (force=True)'
        )
    clips = [spec.clip_path(split, index) for split in SPLITS for index in range(spec.count(split))]
    own = (name for task, name in _OWN_LISTS.items() if task == spec.task)
    lists = (*_LISTS, *(_CLASS_LISTS[column] for column in spec.class_lists()), *own)
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
        os.replace(out / META, out / UNFINISHED)  # an interrupted deletion leaves a folder that is known as ours
    for name in (*_LISTS, *_CLASS_LISTS.values(), *_OWN_LISTS.values()):
        (out / name).unlink(missing_ok=True)
    for folder in (out / 'clips' / split for split in SPLITS):
        for path in folder.glob('*'):
            if _CLIP.fullmatch(path.name):
                path.unlink()
        with suppress(OSError):  # it holds other files
            folder.rmdir()
    with suppress(OSError):
        (out / 'clips').rmdir()
    (out / UNFINISHED).unlink(missing_ok=True)
    return True


def _write_lists(out: Path, spec: AVSynthSpec, rows: Sequence[_Row]) -> None:
    classes = spec.class_lists()
    for split in SPLITS:
        labels = ((row.path, *spec.labels(row.seen, row.heard).values()) for row in rows if row.split == split)
        write_list(out / f'{split}.csv', csv_bytes([('path', *classes), *labels]))
    events: list[tuple[Any, ...]] = [('path', 'visual', 'sound', 'onset', 'offset', *CORNERS)]
    sounds: list[tuple[Any, ...]] = [('path', 'sound', 'onset', 'offset')]
    boxes: list[tuple[Any, ...]] = [('path', 'frame', 'seconds', *CORNERS)]
    for row in rows:
        around = (*row.boxes[:, :2].min(axis=0), *row.boxes[:, 2:].max(axis=0))
        numbers = (f'{value:.4f}' for value in (row.onset, row.offset, *around))
        shown, played = (
            SEPARATOR.join(names[k] for k in of_clip)
            for names, of_clip in ((VISUAL_EVENTS, row.seen), (SOUND_EVENTS, row.heard))
        )
        events.append((row.path, shown, played, *numbers))
        sounds += [(row.path, SOUND_EVENTS[k], f'{begin:.4f}', f'{end:.4f}') for k, begin, end in row.spans]
        for frame, box in enumerate(row.boxes):
            boxes.append((row.path, frame, *(f'{value:.4f}' for value in (frame / spec.fps, *box))))
    write_list(out / 'events.csv', csv_bytes(events))
    write_list(out / 'boxes.csv', csv_bytes(boxes))
    if spec.task == EVENTS:
        write_list(out / _SOUNDS, csv_bytes(sounds))


# parameters -> what makes a clip and returns a row of the lists, and what writes the lists
_MAKERS: dict[type, tuple[Callable[..., Any], Callable[..., None]]] = {
    AVSynthSpec: (_make_clip, _write_lists),
    NaturalSpec: (make_natural_clip, write_natural_lists),
}
