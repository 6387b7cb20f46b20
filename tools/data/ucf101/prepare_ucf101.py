#!/usr/bin/env python
"""Writes the manifests of UCF101, HMDB51, or any clips in a folder for each class with lists of their kind."""

import argparse

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.preparation.class_folders import NUMBERS, WITH_SOUND, read_class_folders, read_ucf101
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/ucf101/prepare_ucf101.py ucfTrainTestlist --dry-run
  python tools/data/ucf101/prepare_ucf101.py ucfTrainTestlist --clips UCF-101 --split 2
  python tools/data/ucf101/prepare_ucf101.py ucfTrainTestlist --clips UCF-101 --with-sound classes --out data/ucf51
  python tools/data/ucf101/prepare_ucf101.py testTrainMulti_7030_splits --clips hmdb51_org --out data/hmdb51
  python tools/data/ucf101/prepare_ucf101.py --train mine.txt --test other.txt --clips DIR --out data/mine"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'lists', nargs='?', metavar='DIR', help='ucfTrainTestlist, or testTrainMulti_7030_splits of HMDB51'
    )
    parser.add_argument('--split', type=int, choices=NUMBERS, help='which of the three official splits (1)')
    for part in ('train', 'val', 'test'):
        parser.add_argument(f'--{part}', nargs='+', metavar='TXT', help='your own lists: rows CLASS/FILE [NUMBER]')
    parser.add_argument('--classes', metavar='TXT', help='their classes: rows NUMBER NAME, from 1, or one name a line')
    parser.add_argument(
        '--with-sound',
        choices=WITH_SOUND,
        help='only clips that have an audio track, or also only the classes of which at least half have (all clips)',
    )
    add_arguments(parser, 'data/ucf101')
    args = parser.parse_args()
    own = {part: lists for part in ('train', 'val', 'test') if (lists := getattr(args, part))}
    if (args.lists is None) == (not own):
        raise MmavError('give either the folder of the official lists, or your own lists with --train and --test')
    if own:
        if args.split:
            raise MmavError(f'--split {args.split} chooses among official lists: leave it out with your own')
        annotation = read_class_folders(own, classes=args.classes, with_sound=args.with_sound)
    else:
        if args.classes:
            raise MmavError(f'--classes {args.classes} is for your own lists: the official ones have theirs')
        annotation = read_ucf101(args.lists, number=args.split or NUMBERS[0], with_sound=args.with_sound)
    run(annotation, args)


if __name__ == '__main__':
    run_tool(main)
