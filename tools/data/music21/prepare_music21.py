#!/usr/bin/env python
"""Writes the manifests of MUSIC or MUSIC-21 from its official lists and the videos that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.manifests import add_arguments, run
from mmav.preparation.music21 import SHARES, read_music21

EXAMPLE = """examples:
  python tools/data/music21/prepare_music21.py --solo MUSIC21_solo_videos.json --dry-run
  python tools/data/music21/prepare_music21.py --solo MUSIC21_solo_videos.json --clips videos --seconds 10 --most 12
  python tools/data/music21/prepare_music21.py --solo MUSIC21_solo_videos.json --duet MUSIC_duet_videos.json \\
      --clips videos --seconds 10 --out data/music21_duet      # several labels a clip"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--solo', nargs='+', required=True, metavar='JSON', help='lists of videos of one instrument')
    parser.add_argument('--duet', nargs='+', default=(), metavar='JSON', help='of two: clips then have several labels')
    parser.add_argument(
        '--shares',
        nargs=2,
        type=float,
        default=SHARES,
        metavar=('VAL', 'TEST'),
        help=f'shares of the videos of each class ({SHARES[0]:g} {SHARES[1]:g})',
    )
    parser.add_argument('--seconds', type=float, help='cut videos into clips of so many seconds (whole videos)')
    parser.add_argument('--most', type=int, metavar='N', help='at most so many clips of a video, spread evenly (all)')
    parser.add_argument('--jobs', type=int, help="processes that read the videos' lengths (one per core)")
    add_arguments(parser, 'data/music21')
    args = parser.parse_args()
    annotation = read_music21(
        args.solo, args.duet, shares=tuple(args.shares), seconds=args.seconds, most=args.most, jobs=args.jobs
    )
    run(annotation, args)


if __name__ == '__main__':
    run_tool(main)
