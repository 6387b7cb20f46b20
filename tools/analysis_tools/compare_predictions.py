#!/usr/bin/env python
"""Says whether models differ: from dumps of tools/test.py, of one seed or several each, the difference with its
interval over seeds and test clips, McNemar's test, and a verdict. The first is stated to be better than the others.
"""

import argparse
from pathlib import Path

from mmav.analysis.evidence.dumps import read_rows
from mmav.analysis.evidence.judging import Evidence
from mmav.analysis.evidence.report import FILES, report_text, write_report
from mmav.analysis.evidence.splits import read_splits
from mmav.analysis.evidence.stated import Comparison, Stated
from mmav.analysis.evidence.telling import count_of
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.outputs import check_folder

EXAMPLE = """examples:
  python tools/analysis_tools/compare_predictions.py mmt.pkl concat.pkl
  python tools/analysis_tools/compare_predictions.py --row MMT mmt_seed*/predictions.pkl \\
      --row concat concat_seed*/predictions.pkl --margin 1 --out comparison

One seed tells of the trained models only; what other seeds would give takes two at least, better five. Seeds are those
that the paths name, as in mmt_seed3, or else the files are paired in their order. DIR gets report.html, report.md,
report.png and report.json."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('predictions', nargs='*', help='files written by tools/test.py --dump, one a model')
    parser.add_argument(
        '--row', nargs='+', action='append', default=[], metavar='NAME FILE', help='a model and its dumps, one a seed'
    )
    parser.add_argument('--metric', default='top1', help='such as top5, verb_top1, mAP (default: %(default)s)')
    parser.add_argument('--margin', type=float, metavar='POINTS', help='models that differ by less count as the same')
    parser.add_argument(
        '--split-by', metavar='FILE:COLUMN', help='CSV file with the column path: judge each part of the clips, too'
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder for the report; without it only print')
    args = parser.parse_args()
    dumps = {path: [path] for path in args.predictions}
    if len(dumps) < len(args.predictions):
        raise MmavError('a file is given twice: give one a model')
    for name, *files in args.row:
        if not files:
            raise MmavError(f'--row {name}: give its name and its dumps, such as --row MMT mmt_seed*/predictions.pkl')
        if name in dumps:
            raise MmavError(f'--row {name}: two rows have this name')
        dumps[name] = files
    if len(dumps) < 2:
        raise MmavError('give the dumps of two models at least')
    if args.out:
        table = [args.split_by.rpartition(':')[0]] if args.split_by else []
        check_folder(args.out, FILES, inputs=[*(path for files in dumps.values() for path in files), *table])
    rows, clips = read_rows(dumps, args.metric)
    first, *others = dumps
    evidence = Evidence(
        Stated(
            count_of(len(clips), 'test clip'),
            rows,
            [Comparison(first, other) for other in others],
            metric=args.metric,
            source='compare_predictions.py',
            margin=None if args.margin is None else args.margin / 100,
            splits=read_splits(args.split_by, clips) if args.split_by else {},
        )
    )
    print(report_text(evidence))
    if args.out:
        print(f'written to {args.out}: {", ".join(write_report(evidence, args.out))}')


if __name__ == '__main__':
    run_tool(main)
