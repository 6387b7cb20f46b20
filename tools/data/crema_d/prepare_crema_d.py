#!/usr/bin/env python
"""Writes the manifests of CREMA-D from the names of its files, with the split of OGM-GE or one by actors."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.crema_d import OFFICIAL, SPEAKERS, read_crema_d
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/crema_d/prepare_crema_d.py train.csv test.csv --dry-run                      # OGM-GE's lists
  python tools/data/crema_d/prepare_crema_d.py train.csv test.csv --clips CREMA-D/VideoFlash
  python tools/data/crema_d/prepare_crema_d.py train.csv test.csv --clips CREMA-D/VideoFlash --audio CREMA-D/AudioWAV
  python tools/data/crema_d/prepare_crema_d.py SentenceFilenames.csv --split speakers --fold 2 \\
      --demographics VideoDemographics.csv --clips CREMA-D/VideoFlash"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'lists',
        nargs='*',
        metavar='CSV',
        help="train.csv and test.csv of OGM-GE; with --split speakers also CREMA-D's SentenceFilenames.csv, or none",
    )
    parser.add_argument(
        '--split',
        choices=(OFFICIAL, SPEAKERS),
        default=OFFICIAL,
        help='as in the lists of OGM-GE and BalanceBenchmark, or by actors, with a validation list (%(default)s)',
    )
    parser.add_argument('--fold', type=int, metavar='N', help='which fifth of the actors is for testing, 1 to 5 (1)')
    parser.add_argument('--demographics', metavar='CSV', help='VideoDemographics.csv: tells who is in each split')
    add_arguments(parser, 'data/crema_d')
    args = parser.parse_args()
    annotation = read_crema_d(
        args.lists, split=args.split, fold=args.fold, demographics=args.demographics, clips=args.clips
    )
    run(annotation, args)


if __name__ == '__main__':
    run_tool(main)
