#!/usr/bin/env python
"""Writes predictions of a test list as the file that a challenge asks for."""

import argparse
from pathlib import Path

from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions
from mmav.evaluation.submission import (
    check_epic_classes,
    csv_ids,
    csv_submission,
    epic_submission,
    ids_in,
    read_expected,
    write_epic_submission,
)
from mmav.outputs import check_output
from mmav.preparation.epic_kitchens import CLASS_LISTS, TEST_LIST, read_classes_by_id
from mmav.tables import write_csv

EXAMPLE = """examples:
  python tools/test.py configs/mmt/mmt_k4_l4_epic_kitchens.py CHECKPOINT \\
      --unlabelled data/epic_kitchens/unlabelled.csv --dump predictions.pkl
  python tools/submit.py epic predictions.pkl --manifest data/epic_kitchens/unlabelled.csv --out test.zip \\
      --sls-pt 2 --sls-tl 3 --sls-td 3
  python tools/submit.py csv predictions.pkl --out submission.csv --topk 5"""

LEVELS = dict(
    pt='pretraining: 0 none, 1 public images, 2 public images and videos, 3 self-supervised on public data, 4 that and '
    'EPIC-Kitchens, 5 private data',
    tl='labels: 0 none, 1 of videos, 2 narration times, 3 start and end times, 4 and places, 5 more',
    td='data: 0 none, 1 up to 5 a class, 2 up to 25 %%, 3 the training set, 4 and validation, 5 and other data',
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='{epic,csv}')
    epic = kinds.add_parser('epic', help='action recognition of EPIC-Kitchens-100: test.json in a zip file')
    table = kinds.add_parser('csv', help='a table with a row for each clip')
    for kind in (epic, table):
        kind.add_argument('predictions', help='file written by tools/test.py --dump')
    epic.add_argument('--manifest', required=True, help='the list tested on, with the column narration_id')
    epic.add_argument('--out', required=True, metavar='FILE.zip', help='.zip as the challenge takes it, or .json')
    epic.add_argument(
        '--list', help=f'official list of segments, beside the class lists; default: {TEST_LIST} beside the manifest'
    )
    for name, text in LEVELS.items():
        epic.add_argument(f'--sls-{name}', required=True, type=int, choices=range(6), help=text)
    epic.add_argument('--fill', action='store_true', help='equal scores for segments that were not predicted')
    table.add_argument('--out', required=True, metavar='FILE.csv')
    what = table.add_mutually_exclusive_group()
    what.add_argument('--topk', type=int, default=1, metavar='K', help='the K most probable classes (%(default)s)')
    what.add_argument('--scores', action='store_true', help='the probability of each class')
    what.add_argument('--threshold', type=float, metavar='P', help='all classes with a probability of P or more')
    table.add_argument('--indices', action='store_true', help='numbers of classes in place of their names')
    table.add_argument(
        '--id', default='stem', help='stem (name of the file without suffix), path, row, or a column of --manifest'
    )
    table.add_argument('--manifest', help='the list tested on')
    args = parser.parse_args()
    (submit_epic if args.kind == 'epic' else submit_csv)(args)


def submit_epic(args: argparse.Namespace) -> None:
    official = Path(args.list or Path(args.manifest).with_name(TEST_LIST))
    check_output(args.out, inputs=[args.predictions, args.manifest, official], suffixes=['.zip', '.json'])
    rows, classes = load_predictions(args.predictions)
    check_epic_classes(
        classes, {part: read_classes_by_id(official.with_name(name)) for part, name in CLASS_LISTS.items()}
    )
    levels = {f'sls_{name}': getattr(args, f'sls_{name}') for name in LEVELS}
    ids = ids_in(rows, args.manifest, 'narration_id')
    expected = read_expected(official)
    text = epic_submission(rows, ids, expected, levels=levels, fill=args.fill, progress=True)
    write_epic_submission(args.out, text)
    supervision = '-'.join(map(str, levels.values()))
    print(f'{args.out}: {len(expected):,} segments of {official.name}, supervision levels {supervision}')


def submit_csv(args: argparse.Namespace) -> None:
    if args.topk < 1 or not 0 <= (args.threshold or 0) <= 1:
        raise MmavError('--topk is a number from 1, --threshold a probability')
    inputs = [args.predictions, *([args.manifest] if args.manifest else [])]
    check_output(args.out, inputs=inputs, suffixes=['.csv'])
    rows, classes = load_predictions(args.predictions)
    ids = csv_ids(rows, args.id, args.manifest)
    options = dict(topk=args.topk, scores=args.scores, threshold=args.threshold, indices=args.indices)
    name = args.id if args.manifest else 'id'
    write_csv(args.out, csv_submission(rows, ids, classes, id_name=name, **options))
    print(f'{args.out}: {len(rows):,} clips')


if __name__ == '__main__':
    run_tool(main)
