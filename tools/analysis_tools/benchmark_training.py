#!/usr/bin/env python
"""Measures what a training step of a config's model costs with and without options: memory and time.

Variants take turns, so that what slows the machine down for a while slows all; random numbers are the data. On a GPU
the greatest memory of a step is measured, too.
"""

import argparse
import sys
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.machine import check_counts
from benchmarks.training import OPTIONS, cost_table, measure_steps
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.engine.precision import decide, this_hardware

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_training.py configs/mmt/mmt_k4_l4_vggsound.py
  python tools/analysis_tools/benchmark_training.py CONFIG --batch-size 8 --variants plain bfloat16 bfloat16+compile"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--variants',
        nargs='+',
        default=['plain', 'checkpointing', 'bfloat16'],
        metavar='A+B',
        help=f"'plain' (float32), or options joined by +: {', '.join(OPTIONS)}; others are compared with the first",
    )
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='clips of a step (1)')
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='how often each variant is timed (3)')
    args = parser.parse_args()
    check_counts(args, 'batch_size', 'rounds')
    cfg = load_checked_config(args.config)
    if cfg.model.head.get('num_classes') == 'auto':
        cfg.model.head.num_classes = 2  # the head is not measured
    variants = [[] if variant == 'plain' else variant.split('+') for variant in args.variants]
    with decide(cfg, this_hardware()).in_force():  # TF32 and cuDNN's benchmark as in training
        costs = measure_steps(cfg.model, variants, batch_size=args.batch_size, rounds=args.rounds)
    print(cost_table(costs))


if __name__ == '__main__':
    run_tool(main)
