"""What the times of clips amount to, as numbers and as a table, and on which machine they were taken."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import scipy
import torch

from mmav import tables

# what a step belongs to; steps of one's own are 'other'
PART_OF = dict(
    LoadClip='decode',
    **dict.fromkeys(
        ('Resize', 'CenterCrop', 'RandomResizedCrop', 'RandomFlip', 'RandAugment', 'ColorJitter', 'RandomErasing'),
        'video transforms',
    ),
    **dict.fromkeys(('LogMel', 'AudioViews', 'SpecAugment'), 'audio front end'),
    PackAVInputs='pack',
    collate='collate',
)
PARTS = ('decode', 'video transforms', 'audio front end', 'pack', 'collate', 'other')


@dataclass(frozen=True)
class ClipTimes:
    """What one clip took.

    Attributes:
        steps: Name of a step -> seconds, in the order of the pipeline; ``collate`` is the last.
        bare: Seconds of bare decoding of the same frames and samples.
    """

    steps: dict[str, float]
    bare: float

    @property
    def total(self) -> float:
        """Seconds from the manifest row to the batch: the sum of the steps, as each begins where the last ended."""
        return sum(self.steps.values())


@dataclass
class Measurement:
    """What was measured of all clips.

    Attributes:
        clips: Times of each clip, without those of the warm-up.
        broken: Clips that could not be read; they are not among ``clips``.
        memory: Resident memory in bytes after the warm-up and at the end; None where the system does not tell.
    """

    clips: list[ClipTimes] = field(default_factory=list)
    broken: int = 0
    memory: tuple[int | None, int | None] = (None, None)

    def summary(self) -> dict[str, Any]:
        """All figures, in milliseconds, shares and ratios.

        Means of the steps add up to the mean of the total, medians need not. Ratios are medians of the clips' ratios.
        """
        names = list(self.clips[0].steps)
        steps = {name: np.array([clip.steps[name] for clip in self.clips]) for name in names}
        total, bare = (np.array([getattr(clip, key) for clip in self.clips]) for key in ('total', 'bare'))
        parts = {part: sum(steps[n] for n in names if _part(n) == part) for part in PARTS}
        decode = np.asarray(parts['decode'])
        return dict(
            clips=len(self.clips),
            broken=self.broken,
            clips_per_second_per_worker=float(1 / total.mean()),
            steps_ms={name: _figures(values) for name, values in steps.items()},
            parts_ms={part: _figures(values) for part, values in parts.items() if isinstance(values, np.ndarray)},
            total_ms=_figures(total),
            bare_decoding_ms=_figures(bare),
            data_path_to_bare=float(np.median(total / bare)),
            load_clip_to_bare=float(np.median(decode / bare)),
            audio_front_end_share=float(np.mean(parts['audio front end']) / total.mean()),
            memory_bytes=dict(after_warm_up=self.memory[0], at_end=self.memory[1]),
        )


def resident_memory(process: int | str = 'self', *, peak: bool = False) -> int | None:
    """Resident memory of a process in bytes, now or at its ``peak``; None where there is no ``/proc``."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except OSError:
        return None
    field = 'VmHWM:' if peak else 'VmRSS:'
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith(field)]
    return int(sizes[0]) * 1024 if sizes else None


def machine() -> dict[str, Any]:
    """Name of the processor and versions of what does the work."""
    cpu = platform.processor() or platform.machine()
    if Path('/proc/cpuinfo').is_file():
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        cpu = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), cpu)
    libraries = dict(av=av, numpy=np, opencv=cv2, scipy=scipy, torch=torch)
    versions = {name: library.__version__ for name, library in libraries.items()}
    ffmpeg = {name: '.'.join(map(str, version)) for name, version in av.library_versions.items()}
    return dict(cpu=cpu, python=platform.python_version(), versions={**versions, **ffmpeg})


def text_table(summary: Mapping[str, Any]) -> str:
    """A table for a terminal, in milliseconds a clip."""
    mean = summary['total_ms']['mean']
    rows = [['step', 'part', 'median ms', 'mean ms', 'share']]

    def add(name: str, part: str, figures: Mapping[str, float]) -> None:
        times = [f'{figures[key]:.2f}' for key in ('median', 'mean')]
        rows.append([name, part, *times, f'{figures["mean"] / mean:.1%}'])

    for name, figures in summary['steps_ms'].items():
        add(name, _part(name), figures)
    for part, figures in summary['parts_ms'].items():
        add('sum', part, figures)
    add('total', '', summary['total_ms'])
    add('bare decoding', '', summary['bare_decoding_ms'])
    return '\n'.join(
        [
            tables.text_table(rows, left=2),
            f'data path / bare decoding  {summary["data_path_to_bare"]:.2f}',
            f'LoadClip / bare decoding   {summary["load_clip_to_bare"]:.2f}',
            f'audio front end            {summary["audio_front_end_share"]:.1%} of a clip',
            f'one worker                 {summary["clips_per_second_per_worker"]:.2f} clips/s',
            f'clips                      {summary["clips"]} measured, {summary["broken"]} broken',
            f'memory                     {_memory(summary["memory_bytes"])}',
        ]
    )


def loader_lines(loader: Mapping[str, Any]) -> str:
    """What :func:`benchmarks.data_speed.measure_loader` found, for a terminal."""
    read = f'{loader["clips"]} clips in batches of {loader["batch_size"]}, {loader["broken"]} broken'
    speed = f'{loader["clips_per_second"]:.2f} clips/s with {loader["workers"]} workers'
    lines = [f'DataLoader                 {speed}; {read}']
    for name in ('main', 'workers'):
        sizes = {when: memory[name] for when, memory in loader['memory_bytes'].items()}
        lines.append(f'memory of {name:<17}{_memory(sizes)}')
    return '\n'.join(lines)


def _memory(sizes: Mapping[str, int | None]) -> str:
    first, last = (sizes[when] for when in ('after_warm_up', 'at_end'))
    if first is None or last is None:
        return 'not known on this system'
    return f'{first / 2**20:.0f} MiB after the warm-up, {last / 2**20:.0f} MiB at the end'


def _part(step: str) -> str:
    return PART_OF.get(step.split(' ')[0], 'other')


def _figures(seconds: np.ndarray) -> dict[str, float]:
    return dict(median=float(np.median(seconds) * 1e3), mean=float(np.mean(seconds) * 1e3))
