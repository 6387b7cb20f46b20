#!/usr/bin/env python
"""Writes the manifests of EPIC-Kitchens-100 from its official lists and the videos that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.epic_kitchens import read_epic_kitchens, read_epic_kitchens_test
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/epic_kitchens/prepare_epic_kitchens.py epic-kitchens-100-annotations --dry-run
  python tools/data/epic_kitchens/prepare_epic_kitchens.py epic-kitchens-100-annotations --clips /disk/EPIC-KITCHENS
  python tools/data/epic_kitchens/prepare_epic_kitchens.py epic-kitchens-100-annotations --test --clips /disk/EPIC"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotation', metavar='ANNOTATION_DIR', help='a copy of epic-kitchens-100-annotations')
    parser.add_argument(
        '--test',
        action='store_true',
        help='prepare the official test list, which has no labels, in place of training and validation: '
        'unlabelled.csv, for mmav test --unlabelled and mmav submit epic',
    )
    add_arguments(parser, 'data/epic_kitchens')
    args = parser.parse_args()
    run((read_epic_kitchens_test if args.test else read_epic_kitchens)(args.annotation), args)


if __name__ == '__main__':
    run_tool(main)
