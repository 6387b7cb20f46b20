#!/usr/bin/env python
"""Writes the manifests of VGGSound from its official lists and the clips that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.annotations import SPLITS
from mmav.preparation.manifests import add_arguments, run
from mmav.preparation.vggsound import read_vggsound

EXAMPLE = """examples:
  python tools/data/vggsound/prepare_vggsound.py vggsound.csv --dry-run
  python tools/data/vggsound/prepare_vggsound.py vggsound.csv --clips data/vggsound/clips
  python tools/data/vggsound/prepare_vggsound.py train.csv test.csv --clips /disk/clips --pattern 'v_{id}_{start}'"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('lists', nargs='+', metavar='CSV', help='vggsound.csv, or train.csv and test.csv')
    parser.add_argument('--classes', metavar='FILE', help='another order of classes: one name a line, or stat.csv')
    parser.add_argument('--split', choices=SPLITS, help='of a list <file>,<label> whose name does not tell it')
    add_arguments(parser, 'data/vggsound')
    args = parser.parse_args()
    run(read_vggsound(args.lists, classes=args.classes, split=args.split), args)


if __name__ == '__main__':
    run_tool(main)
