#!/usr/bin/env python
"""Measures how long an epoch of training on stored features takes, with random features of the sizes of a config."""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.features import time_epochs
from benchmarks.machine import check_counts
from mmav.config.reading import key_value, load_checked_config
from mmav.datasets.features.index import DTYPES
from mmav.engine.cli import run_tool

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_features.py configs/mmt/mmt_concat_vggsound.py
  python tools/analysis_tools/benchmark_features.py configs/mmt/mmt_k4_l4_vggsound.py --clips 64 --epochs 1
  python tools/analysis_tools/benchmark_features.py configs/mmt/mmt_k4_l4_vggsound.py \\
      --cfg-options model.neck.token_grids.video=[1,7,7] model.neck.token_grids.audio=[1,8]"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--clips', type=int, default=2000, metavar='N', help='clips of an epoch (2000)')
    parser.add_argument('--epochs', type=int, default=3, metavar='N', help='epochs, of which the fastest counts (3)')
    parser.add_argument('--batch-size', type=int, metavar='N', help="clips of a step (the config's)")
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='of the stored features (float32)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V', help='as in training'
    )
    args = parser.parse_args()
    check_counts(args, 'clips', 'epochs', *(['batch_size'] if args.batch_size is not None else []))
    cfg = load_checked_config(args.config, args.cfg_options)
    if cfg.model.head.get('num_classes') == 'auto':
        cfg.model.head.num_classes = 10
    print(
        time_epochs(cfg, clips=args.clips, epochs=args.epochs, batch_size=args.batch_size, dtype=args.dtype).describe()
    )


if __name__ == '__main__':
    run_tool(main)
