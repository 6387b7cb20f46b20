#!/usr/bin/env python
"""Measures a training step on a CPU alone and beside processes that keep the cores busy, with settings of the threads.

Each setting is variables of the environment, joined by commas; default is what mmav sets by itself. Settings take
turns, each in a process of its own; the first is what the others are compared with. Random numbers are the data.
"""

import argparse
import sys
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.contention import contention_table, measure_contention
from benchmarks.machine import check_counts
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool

SETTINGS = ['GOMP_SPINCOUNT=300000', 'default', 'OMP_WAIT_POLICY=PASSIVE', 'OMP_NUM_THREADS=1']
EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_contention.py configs/mvitv2/mvitv2_tiny_avsynth.py
  python tools/analysis_tools/benchmark_contention.py CONFIG --busy 4 --settings default GOMP_SPINCOUNT=0"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--settings',
        nargs='+',
        default=SETTINGS,
        metavar='NAME=VALUE',
        help=f'default: {" ".join(SETTINGS)}; the first of these is the default of libgomp itself',
    )
    parser.add_argument('--busy', type=int, default=2, metavar='N', help='processes that keep a core busy (2)')
    parser.add_argument('--batch-size', type=int, default=16, metavar='N', help='clips of a step (16)')
    parser.add_argument('--rounds', type=int, default=7, metavar='N', help='how often each setting is timed (7)')
    args = parser.parse_args()
    check_counts(args, 'busy', 'batch_size', 'rounds')
    load_checked_config(args.config)
    options = dict(busy=args.busy, batch_size=args.batch_size, rounds=args.rounds)
    print(contention_table(measure_contention(args.config, args.settings, **options)))


if __name__ == '__main__':
    run_tool(main)
