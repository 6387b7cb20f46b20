#!/usr/bin/env python
"""Writes the manifests of AVE (audio-visual events) from its official lists and the clips that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.ave import read_ave
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/ave/prepare_ave.py AVE_Dataset --dry-run
  python tools/data/ave/prepare_ave.py AVE_Dataset --clips AVE_Dataset/AVE
  python tools/data/ave/prepare_ave.py AVE_Dataset --clips AVE_Dataset/AVE --events --out data/ave_events"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('lists', metavar='DIR', help='folder of trainSet.txt, valSet.txt and testSet.txt')
    parser.add_argument('--events', action='store_true', help='only the seconds of the event instead of the whole clip')
    parser.add_argument(
        '--multi-label', action='store_true', help='one row for a clip with several classes, for multi_label=True'
    )
    parser.add_argument(
        '--official', action='store_true', help='keep clips of training that are in another split, too, as in the lists'
    )
    add_arguments(parser, 'data/ave')
    args = parser.parse_args()
    run(read_ave(args.lists, events=args.events, multi_label=args.multi_label, official=args.official), args)


if __name__ == '__main__':
    run_tool(main)
