#!/usr/bin/env python
"""Writes the manifests of Kinetics-Sounds from Kinetics-400's official lists and the clips that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.preparation.kinetics_sounds import read_kinetics_sounds
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/kinetics_sounds/prepare_kinetics_sounds.py --test kinetics400_val.csv --dry-run
  python tools/data/kinetics_sounds/prepare_kinetics_sounds.py --train train.csv --test val.csv --clips /disk/k400"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--train', metavar='CSV', help="Kinetics-400's training list")
    parser.add_argument('--test', metavar='CSV', help="Kinetics-400's validation list")
    parser.add_argument('--classes', type=int, choices=(31, 32), default=32, help='31 leaves "strumming guitar" out')
    add_arguments(parser, 'data/kinetics_sounds')
    args = parser.parse_args()
    if not args.train and not args.test:
        raise MmavError('give at least one list with --train or --test')
    run(read_kinetics_sounds(args.train, args.test, num_classes=args.classes), args)


if __name__ == '__main__':
    run_tool(main)
