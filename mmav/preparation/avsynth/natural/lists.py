"""Makes the clips of a `natural` dataset, and its lists."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmav.preparation.avsynth.natural.audio import RenderedSound, render_audio
from mmav.preparation.avsynth.natural.spec import (
    ABSENT,
    DISTRACTOR,
    ON,
    OTHER,
    SILENT,
    Evidence,
    NaturalSpec,
    sound_name,
    visual_name,
)
from mmav.preparation.avsynth.natural.video import render_video
from mmav.preparation.avsynth.render_video import RenderedVideo
from mmav.preparation.avsynth.spec import CORNERS, SPLITS
from mmav.preparation.avsynth.writing import write_clip, write_list
from mmav.tables import csv_bytes

EVIDENCE = 'evidence.csv'


@dataclasses.dataclass(frozen=True)
class NaturalRow:
    """What the lists say about one clip."""

    split: str
    path: str
    label: int
    evidence: tuple[Evidence, Evidence]
    onset: float
    offset: float
    boxes: np.ndarray


def render_natural_clip(spec: NaturalSpec, split: str, index: int) -> tuple[RenderedVideo, RenderedSound]:
    """Renders one clip of a dataset; it depends on the spec's seed, format and probabilities, split and index alone."""
    seen, heard = spec.evidence(split, index)
    video = render_video(spec.rng(split, index, 'video'), seen, spec.size, seconds=spec.seconds, fps=spec.fps)
    audio = render_audio(spec.rng(split, index, 'audio'), heard, seconds=spec.seconds, sample_rate=spec.sample_rate)
    return video, audio


def make_natural_clip(spec: NaturalSpec, out: Path, task: tuple[str, int]) -> NaturalRow:
    """Writes a clip unless it is there, and returns its row."""
    split, index = task
    video, audio = render_natural_clip(spec, split, index)
    path = spec.clip_path(split, index)
    write_clip(out / path, video.frames, audio.waveform, fps=spec.fps, sample_rate=spec.sample_rate)
    return NaturalRow(
        split, path, spec.label(split, index), spec.evidence(split, index), audio.onset, audio.offset, video.boxes
    )


def write_natural_lists(out: Path, spec: NaturalSpec, rows: Sequence[NaturalRow]) -> None:
    """Writes the manifests, events.csv, boxes.csv and evidence.csv."""
    names = spec.class_lists()['label']
    for split in SPLITS:
        labels = ((row.path, names[row.label]) for row in rows if row.split == split)
        write_list(out / f'{split}.csv', csv_bytes([('path', 'label'), *labels]))
    events: list[tuple[Any, ...]] = [('path', 'visual', 'sound', 'onset', 'offset', *CORNERS)]
    boxes: list[tuple[Any, ...]] = [('path', 'frame', 'seconds', *CORNERS)]
    evidence: list[tuple[Any, ...]] = [
        ('path', 'video', 'audio')
        + tuple(f'{modality}_{what}' for what in ('ambiguous', 'size', 'tempo') for modality in ('video', 'audio'))
    ]
    for row in rows:
        seen, heard = row.evidence
        around = (*row.boxes[:, :2].min(axis=0), *row.boxes[:, 2:].max(axis=0))
        numbers = (f'{value:.4f}' for value in (row.onset, row.offset, *around))
        shown = '' if seen.event is None else visual_name(seen.event, ambiguous=seen.ambiguous)
        played = '' if heard.event is None else sound_name(heard.event, ambiguous=heard.ambiguous)
        events.append((row.path, shown, played, *numbers))
        for frame, box in enumerate(row.boxes):
            boxes.append((row.path, frame, *(f'{value:.4f}' for value in (frame / spec.fps, *box))))
        states = (seen.state, heard.state, int(seen.ambiguous), int(heard.ambiguous))
        factors = (f'{value:.4f}' for value in (seen.size, heard.size, seen.tempo, heard.tempo))
        evidence.append((row.path, *states, *factors))
    write_list(out / 'events.csv', csv_bytes(events))
    write_list(out / 'boxes.csv', csv_bytes(boxes))
    write_list(out / EVIDENCE, csv_bytes(evidence))


def natural_examples(events: Sequence[dict[str, str]], evidence: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The first clip of each kind among rows of events.csv, an event without a name called by its state.

    Args:
        events: Rows of events.csv, of the clips to choose from.
        evidence: Rows of evidence.csv.
    """
    of_clip = {row['path']: row for row in evidence}
    kinds: dict[tuple[str, ...], dict[str, str]] = {}
    for row in events:
        given = of_clip[row['path']]
        names = {
            name: f'{row[name] or given[modality]}' + ('\n(other)' if given[modality] == OTHER else '')
            for name, modality in (('visual', 'video'), ('sound', 'audio'))
        }
        kind = tuple(given[key] for key in ('video', 'audio', 'video_ambiguous', 'audio_ambiguous'))
        kinds.setdefault(kind, row | names)
    chosen = [
        kinds.get((video, audio, *hidden))
        for video, audio, hidden in (
            (ON, ON, '00'),
            (ON, ON, '10'),
            (ON, ON, '01'),
            (ON, ON, '11'),
            (OTHER, ON, '00'),
            (DISTRACTOR, ON, '00'),
            (ON, OTHER, '00'),
            (ON, DISTRACTOR, '00'),
            (ON, SILENT, '00'),
            (ON, ABSENT, '00'),
        )
    ]
    return [row for row in chosen if row is not None]
