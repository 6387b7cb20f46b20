"""Writes AVSynth, the built-in audio-video dataset."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from mmav.engine.console import tolerant_console
from mmav.errors import MmavError
from mmav.outputs import check_folder, check_output, program
from mmav.preparation.avsynth import SPLITS, TASKS, AVSynthSpec, NaturalSpec, generate


def parse_args() -> argparse.Namespace:
    usual, natural = AVSynthSpec(), NaturalSpec()
    parser = argparse.ArgumentParser(
        description='Write AVSynth: synthetic clips (H.264 + AAC in mp4) whose classes need both video and audio.',
        epilog='example: python tools/data/avsynth/make_avsynth.py data/avsynth_parity --task parity --seed 1',
        # what is not given has the task's own default
        argument_default=argparse.SUPPRESS,
    )

    def add(name: str, kind: type, text: str, **kwargs: Any) -> None:
        key = name.replace('-', '_')
        parser.add_argument(
            f'--{name}', type=kind, help=f'{text} ({getattr(usual, key)}; natural: {getattr(natural, key)})', **kwargs
        )

    parser.add_argument('out', type=Path, help='folder of the dataset; an interrupted run continues there')
    parser.add_argument('--task', choices=TASKS, default=usual.task, help='meaning of the labels (%(default)s)')
    for split in SPLITS:
        text = f'{split} clips, a multiple of num-events squared, or of 32 for natural; any number for events'
        add(split, int, text, metavar='N')
    parser.add_argument(
        '--num-events', type=int, help='per modality, 2 to 6 (4; 6 for the task events); not for natural'
    )
    add('size', int, 'height and width in pixels')
    add('seconds', float, 'length of a clip')
    add('fps', int, 'frames per second')
    add('sample-rate', int, 'of the audio')
    add('seed', int, 'root of all randomness')
    parser.add_argument('--jobs', type=int, help='processes (one per core)')
    parser.add_argument('--force', action='store_true', help='replace a dataset with other parameters')
    parser.add_argument('--sheet', type=Path, metavar='PNG', help='also draw a contact sheet of the test split')
    return parser.parse_args()


def main() -> int:
    args = vars(parse_args())
    out, sheet = args['out'], args.pop('sheet', None)
    tolerant_console()
    try:
        if sheet is not None:
            check_output(sheet, suffixes=['.png'])
        if not out.is_dir() or not os.listdir(out):
            check_folder(out)
        written = generate(**args)
        print(f'{out} {"written" if written else "is complete, nothing to do"}')
        if sheet is not None:
            from mmav.preparation.avsynth.sheet import draw_sheet  # brings matplotlib, which the rest does not need

            draw_sheet(out, sheet)
            print(f'{sheet} drawn')
    except (ValueError, OSError, MmavError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('stopped; the same command continues', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    with program(Path(__file__).name):
        sys.exit(main())
