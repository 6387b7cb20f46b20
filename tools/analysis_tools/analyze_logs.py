#!/usr/bin/env python
"""Prints the logs of trainings, their speed and best results, as a table, and draws their curves; a resumed run counts
as one.
"""

import argparse

from mmav.analysis.logs import check_keys, default_keys, draw, read_log, summarise, table
from mmav.engine.cli import run_tool
from mmav.outputs import check_output, write_json
from mmav.visualization.figures import check_picture_name

EXAMPLE = """examples:
  python tools/analysis_tools/analyze_logs.py work_dirs/mmt_tiny_avsynth
  python tools/analysis_tools/analyze_logs.py work_dirs/A work_dirs/B --keys loss top1 --out curves.png
  python tools/analysis_tools/analyze_logs.py work_dirs/A/20260101_120000/vis_data/scalars.json --json summary.json"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('logs', nargs='+', metavar='WORK_DIR|FILE', help='work dirs, or .json files of their vis_data')
    parser.add_argument('--keys', nargs='+', help='what to draw (default: the loss and what validation measures)')
    parser.add_argument('--out', metavar='FILE.png', help='draw the curves, one colour a run, into this file')
    parser.add_argument('--json', metavar='FILE.json', help='write the numbers to this file')
    args = parser.parse_args()
    if args.out:
        check_picture_name(args.out)
        check_output(args.out, inputs=args.logs)
    if args.json:
        check_output(args.json, inputs=args.logs, suffixes=['.json'])
    logs = [read_log(path) for path in args.logs]
    check_keys(logs, args.keys or [])
    print(table(logs))
    if args.out:
        draw(logs, args.keys or default_keys(logs), args.out)
        print(f'written: {args.out}')
    if args.json:
        write_json(args.json, dict(runs=[summarise(log) for log in logs]))


if __name__ == '__main__':
    run_tool(main)
