#!/usr/bin/env python
"""Writes manifests of segments of long videos from lists in CSV or JSON, such as ActivityNet's or HowTo100M's."""

import argparse

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.preparation.manifests import add_arguments, run
from mmav.preparation.segment_lists import PARTS
from mmav.preparation.segments import read_segments

EXAMPLE = """examples:
  python tools/data/segments/prepare_segments.py activity_net.v1-3.min.json --dry-run
  python tools/data/segments/prepare_segments.py activity_net.v1-3.min.json --clips /disk/activitynet
  python tools/data/segments/prepare_segments.py --train train.csv --test val.csv --label class_name --clips videos
  python tools/data/segments/prepare_segments.py --train caption.json --video-labels HowTo100M_v1.csv \\
      --label category_1 --clips /disk/howto100m"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('lists', nargs='*', metavar='LIST', help='lists that say what is for training and for testing')
    parser.add_argument('--train', nargs='+', default=[], metavar='LIST', help='lists of training segments')
    parser.add_argument('--test', nargs='+', default=[], metavar='LIST', help='lists of test segments')
    columns = parser.add_argument_group(
        'columns of tables, or keys of JSON, where their names do not tell what they are'
    )
    for part in PARTS:
        columns.add_argument(f'--{part}', metavar='NAME', help=f'that of the {part}')
    parser.add_argument('--train-subset', metavar='NAME', help="the lists' subset for training (training, train)")
    parser.add_argument('--test-subset', metavar='NAME', help='and for testing (validation, val, test, testing)')
    parser.add_argument('--classes', metavar='FILE', help='class list, one name a line; default: all labels, sorted')
    parser.add_argument('--video-labels', metavar='CSV', help='table of videos and their labels, for segments without')
    parser.add_argument('--multi-label', action='store_true', help='a segment may have several labels (rows, or |)')
    parser.add_argument('--trimmed', action='store_true', help='files are the segments, cut out, and not long videos')
    add_arguments(parser, 'data/segments')
    args = parser.parse_args()
    if not (args.lists or args.train or args.test):
        raise MmavError('give a list, or lists with --train and --test')
    annotation = read_segments(
        args.lists,
        train=args.train,
        test=args.test,
        names={part: name for part in PARTS if (name := getattr(args, part)) is not None},
        subsets={
            split: name
            for split, name in (('train', args.train_subset), ('test', args.test_subset))
            if name is not None
        },
        classes=args.classes,
        video_labels=args.video_labels,
        multi_label=args.multi_label,
        trimmed=args.trimmed,
    )
    run(annotation, args)


if __name__ == '__main__':
    run_tool(main)
