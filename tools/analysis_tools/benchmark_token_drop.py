#!/usr/bin/env python
"""Measures what a training step costs when encoders leave tokens out: operations, memory and time over the share.

Shares take turns, so that what slows the machine down for a while slows all; random numbers are the data. On a GPU
the greatest memory of a step is measured, too; on a CPU, seconds are the processor's.
"""

import argparse
import sys
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.machine import check_counts
from benchmarks.token_drop import FORMS, draw_drops, drop_table, measure_drops
from mmav.analysis.pages import fill_block, find_block
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.engine.precision import decide, this_hardware
from mmav.errors import ConfigError
from mmav.visualization.figures import check_picture_name

TOOL = 'tools/analysis_tools/benchmark_token_drop.py'
EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_token_drop.py configs/mat/mat_base_vggsound.py
  python tools/analysis_tools/benchmark_token_drop.py configs/ast/ast_base_vggsound.py --form ratio --shares 0.5 0.75
  python tools/analysis_tools/benchmark_token_drop.py configs/m*/*_tiny_avsynth.py --batch-size 32 --picture drop.png"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--shares', nargs='+', type=float, default=[0.25, 0.5, 0.75], metavar='S',
        help='of the tokens that are left out; each is compared with none (0.25 0.5 0.75)',
    )  # fmt: skip
    parser.add_argument(
        '--form', choices=FORMS, default='time', help='slices of the axis of time, or single tokens (time)'
    )
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='clips of a step (1)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='how often each share is timed (3)')
    parser.add_argument('--picture', metavar='FILE.png', help='draw time, memory and operations')
    parser.add_argument('--page', metavar='FILE.md', help='put the table into the block of this page')
    parser.add_argument('--block', default='token drop', metavar='NAME', help='of the page (token drop)')
    args = parser.parse_args()
    check_counts(args, 'batch_size', 'rounds')
    for share in args.shares:
        if not 0 <= share < 1:
            raise ConfigError(f'--shares {share:g}: give shares of at least 0 and below 1')
    if args.picture:
        check_picture_name(args.picture)
    if args.page:
        find_block(args.page, args.block, TOOL)
    costs = []
    for path in args.configs:
        cfg = load_checked_config(path)
        if cfg.model.head.get('num_classes') == 'auto':
            cfg.model.head.num_classes = 2  # the head is not measured
        with decide(cfg, this_hardware()).in_force():  # TF32 and cuDNN's benchmark as in training
            options = dict(form=args.form, batch_size=args.batch_size, rounds=args.rounds)
            costs += measure_drops(Path(path).stem, cfg.model.to_dict(), args.shares, **options)
    print(drop_table(costs))
    if args.picture:
        draw_drops(costs, args.picture)
    if args.page:
        fill_block(args.page, args.block, TOOL, drop_table(costs))


if __name__ == '__main__':
    run_tool(main)
