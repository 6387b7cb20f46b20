#!/usr/bin/env python
"""Measures what a list of millions of clips costs: seconds until a dataset and its workers are ready, and memory of all
processes together, beside the same processes with a list of a few clips.

The list is generated and no media file is read. Pages that processes share count once.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.lists import KINDS, SAMPLERS, list_text, measure_list
from benchmarks.machine import check_counts, machine
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_list.py --rows 2100000 --workers 4
  python tools/analysis_tools/benchmark_list.py --labels verb-noun --start-method spawn --batches 20000
  python tools/analysis_tools/benchmark_list.py --sampler ClassBalancedSampler --broken 0.05 --json list.json"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--rows', type=int, default=2_100_000, metavar='N', help='clips of the list (%(default)s)')
    parser.add_argument('--labels', choices=KINDS, default='several', help='labels of a clip (%(default)s)')
    parser.add_argument('--workers', type=int, default=4, metavar='N', help='processes that read (%(default)s)')
    parser.add_argument('--start-method', choices=['fork', 'spawn'], default='fork', help='of workers (%(default)s)')
    parser.add_argument('--sampler', choices=SAMPLERS, default=SAMPLERS[0], help='default: %(default)s')
    parser.add_argument('--batches', type=int, default=2000, metavar='N', help='batches to read (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=64, metavar='N', help='clips of a batch (%(default)s)')
    parser.add_argument(
        '--broken', type=float, default=0.0, metavar='SHARE', help='share of the clips that cannot be read'
    )  # fmt: skip
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the processor to this file')
    args = parser.parse_args()
    check_counts(args, 'rows', 'batches', 'batch_size')
    if args.workers < 0 or not 0 <= args.broken < 1:
        raise ConfigError(
            f'--workers {args.workers} --broken {args.broken:g}: give no negative number, and a share below 1'
        )
    if args.json:
        check_output(args.json, suffixes=['.json'])
    with tempfile.TemporaryDirectory() as folder:
        result = measure_list(
            Path(folder),
            rows=args.rows,
            kind=args.labels,
            workers=args.workers,
            start_method=args.start_method,
            sampler=dict(type=args.sampler),
            batches=args.batches,
            batch_size=args.batch_size,
            broken=args.broken,
        )
    print(list_text(result))
    if args.json:
        write_json(args.json, dict(result, **machine()))


if __name__ == '__main__':
    run_tool(main)
