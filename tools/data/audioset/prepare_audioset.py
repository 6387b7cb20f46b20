#!/usr/bin/env python
"""Writes the manifests of AudioSet from its official lists and the clips that are there."""

import argparse

from mmav.engine.cli import run_tool
from mmav.preparation.audioset import SPLITS, read_audioset
from mmav.preparation.manifests import add_arguments, run

EXAMPLE = """examples:
  python tools/data/audioset/prepare_audioset.py balanced_train_segments.csv eval_segments.csv --dry-run
  python tools/data/audioset/prepare_audioset.py lists --clips data/audioset/clips
  python tools/data/audioset/prepare_audioset.py lists --clips /disk/wav --pattern 'Y{id}'        # sound alone
  python tools/data/audioset/prepare_audioset.py lists --clips /disk/videos --untrimmed           # whole videos"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'lists', nargs='+', metavar='CSV',
        help='balanced_train_segments.csv, unbalanced_train_segments.csv, eval_segments.csv, or their folder',
    )  # fmt: skip
    parser.add_argument(
        '--classes',
        metavar='FILE',
        help='another order, or some classes: class_labels_indices.csv, or a name or id a line',
    )
    parser.add_argument(
        '--ontology', metavar='JSON', help='ontology.json: checks names, and tells what unknown ids are'
    )
    parser.add_argument('--split', choices=SPLITS, help='of lists whose names do not tell it')
    parser.add_argument(
        '--untrimmed', action='store_true', help='files are whole videos, of which the lists name parts'
    )
    add_arguments(parser, 'data/audioset')
    args = parser.parse_args()
    annotation = read_audioset(
        args.lists, split=args.split, classes=args.classes, ontology=args.ontology, untrimmed=args.untrimmed
    )
    run(annotation, args)


if __name__ == '__main__':
    run_tool(main)
