"""Compares the readers: what the same frames and audio cost with each, and whether memory grows.

Sources are clips like those of VGGSound in several sizes, made for it (benchmarks/clips.py), or one of yours. Readers
take turns, and ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks.clips import write_sample_clip
from benchmarks.machine import resident_memory
from benchmarks.measure import time_in_turn
from mmav.datasets.media import READERS, open_media
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.tables import markdown_table

SIZES = ((256, 340), (720, 1280), (1080, 1920))
EXAMPLE = """examples:
  python -m benchmarks.readers --seconds 10
  python -m benchmarks.readers --clip film.mp4 --backends pyav torchcodec --threads 2
  python -m benchmarks.readers --opens 3000 --backends torchcodec
"""


class Task(NamedTuple):
    """What is read of a clip.

    Attributes:
        name: In the table.
        frames: Share of the clip's length from which frames are taken, and how many; None for none of them.
        short_side: Short side in pixels to which they are scaled; None keeps their size.
        audio: Whether all audio is read.
    """

    name: str
    frames: tuple[float, int] | None
    short_side: int | None = None
    audio: bool = False


TASKS = (
    Task('16 frames over the clip, scaled to 224', (1.0, 16), 224),
    Task('16 frames over the clip', (1.0, 16)),
    Task('16 frames of a fifth of it, scaled to 224', (0.2, 16), 224),
    Task('all frames of a fifth of it', (0.2, 0)),
    Task('all audio', None, audio=True),
)


def read_task(path: str, backend: str, task: Task, *, threads: int = 1) -> None:
    """Opens a clip, reads what a task says, and closes it.

    Args:
        path: The clip.
        backend: Name of a reader.
        task: What is read.
        threads: Threads of the video decoder.

    Raises:
        MediaError: It cannot be read.
        ConfigError: The reader is not installed.
    """
    with open_media(path, backend=backend, threads=threads) as reader:
        length = reader.info.duration
        if task.frames is not None:
            share, count = task.frames
            count = count or round(share * length * reader.info.fps)
            begin = (1 - share) / 2 * length
            reader.read_frames(begin + (np.arange(count) + 0.5) / count * share * length, short_side=task.short_side)
        if task.audio:
            reader.read_audio(0.0, length, 16000)


def measure_readers(
    path: str, backends: Sequence[str], tasks: Sequence[Task] = TASKS, *, rounds: int = 7, threads: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Times each task with each reader in turn.

    Args:
        path: The clip.
        backends: Names of readers.
        tasks: What is read.
        rounds: How often each is timed, after a warm-up round.
        threads: Threads of the video decoder; with more than one the time that passes is taken, not the processor's.

    Returns:
        Name of a task -> reader -> seconds in each round.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    return {
        task.name: time_in_turn(
            {name: lambda name=name, task=task: read_task(path, name, task, threads=threads) for name in backends},  # type: ignore[misc]
            rounds,
            clock=clock,
        )
        for task in tasks
    }


def readers_table(measured: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A table of milliseconds, and of each reader's time over the first one's within the rounds."""
    first, *others = next(iter(measured.values()))
    lines: list[list[Any]] = [['', first, *(part for name in others for part in (name, f'/ {first}'))]]
    for task, seconds in measured.items():
        line = [task, f'{1000 * np.median(seconds[first]):.1f}']
        for name in others:
            ratio = np.median(np.divide(seconds[name], seconds[first]))
            line += [f'{1000 * np.median(seconds[name]):.1f}', f'{ratio:.2f}']
        lines.append(line)
    return markdown_table(lines)


def measure_growth(path: str, backend: str, opens: int) -> list[float]:
    """Reads a clip again and again, and looks at the memory of this process.

    Returns:
        Resident memory in MB after a tenth of the readings, and after each further tenth; empty where the system does
        not tell.
    """
    sizes: list[float] = []
    for count in tqdm(range(1, opens + 1), unit='clip', desc=backend):
        read_task(path, backend, TASKS[2]._replace(audio=True))
        if count % max(1, opens // 10) == 0 and (memory := resident_memory()):
            sizes.append(memory / 1e6)
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--backends', nargs='+', default=list(READERS), choices=list(READERS), help='default: all')
    parser.add_argument('--clip', metavar='FILE', help='read this media file, not clips made for it')
    parser.add_argument('--seconds', type=int, default=4, help='length of the clips made for it; default: 4')
    parser.add_argument('--rounds', type=int, default=7, help='how often each is timed; default: 7')
    parser.add_argument('--threads', type=int, default=1, help='threads of the video decoder; default: 1')
    parser.add_argument('--opens', type=int, default=0, metavar='N', help='only read N times, and print the memory')
    args = parser.parse_args()
    if min(args.seconds, args.rounds, args.threads) < 1 or args.opens < 0:
        raise ConfigError('--seconds, --rounds and --threads must be 1 or more, --opens 0 or more')
    with tempfile.TemporaryDirectory() as folder:
        sizes = SIZES[:1] if args.opens else SIZES
        files = {args.clip: args.clip} if args.clip else {}
        for height, width in () if args.clip else sizes:
            path = Path(folder, f'{height}.mp4')
            print(f'making a clip of {width} x {height}', file=sys.stderr)
            files[f'{width} x {height}, {args.seconds} s'] = str(
                write_sample_clip(path, seconds=args.seconds, height=height, width=width)
            )
        for name, file in files.items():
            if args.opens:
                for backend in args.backends:
                    grown = ', '.join(f'{size:.0f}' for size in measure_growth(file, backend, args.opens))
                    print(f'{backend}: {grown} MB over {args.opens:,} readings of {name}')
            else:
                measured = measure_readers(file, args.backends, rounds=args.rounds, threads=args.threads)
                print(f'{name}, milliseconds\n\n{readers_table(measured)}\n')


if __name__ == '__main__':
    run_tool(main)
