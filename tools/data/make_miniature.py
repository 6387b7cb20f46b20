#!/usr/bin/env python
"""Writes a miniature of one of the paper's datasets: a few made clips under official names, and lists in official form.

The official preparation reads it as it reads the dataset, so that `reproduce_paper.sh --miniature` can be tried whole.
"""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.miniature import TREES, make_miniature

EXAMPLE = """examples:
  python tools/data/make_miniature.py vggsound data/miniature/vggsound
  python tools/data/make_miniature.py epic_kitchens data/miniature/epic_kitchens --train 48 --test 24"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('dataset', help=', '.join(TREES))
    parser.add_argument('out', metavar='DIR', help='folder to write; an interrupted run goes on there')
    parser.add_argument('--train', type=int, default=24, metavar='N', help='clips to train on (default: %(default)s)')
    parser.add_argument('--test', type=int, default=12, metavar='N', help='clips to test on (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='root of all randomness (default: %(default)s)')
    args = parser.parse_args()
    prepare = make_miniature(args.dataset, args.out, train=args.train, test=args.test, seed=args.seed)
    print(f'{args.out} is complete; prepare it as the official dataset:\n  {prepare}')


if __name__ == '__main__':
    run_tool(main)
