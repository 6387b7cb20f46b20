#!/usr/bin/env python
"""Trains the model of a config."""

import argparse

from mmav.config.amp import AMP
from mmav.config.device_steps import MOVABLE
from mmav.engine.cli import run_tool
from mmav.engine.launch import add_common_arguments, train

EXAMPLE = """examples:
  python tools/train.py configs/mmt/mmt_tiny_avsynth.py
  python tools/train.py configs/small/small_folder.py --data-root DIR --resume
  tools/dist_train.sh configs/mmt/mmt_k4_l4_vggsound.py 8 --cfg-options model.pretrained=False  # from scratch
  tools/dist_train.sh configs/mmt/mmt_k4_l4_vggsound.py 8"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or the name of a config that comes with mmav')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='',
        metavar='CKPT',
        help='continue from CKPT, or from the newest complete checkpoint of the work dir; if there is none, start anew',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='bfloat16',
        choices=AMP,
        help='precision of the forward pass, overrides the config: auto (bfloat16 on a GPU, float16 on one that has '
        'no bfloat16, float32 on a CPU), none (float32), bfloat16 (--amp alone, also on a CPU), or float16 with loss '
        'scaling',
    )
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='only algorithms whose results are bit-equal when repeated, no TF32; slower on a GPU',
    )
    parser.add_argument(
        '--on-device',
        nargs='+',
        choices=MOVABLE,
        metavar='STEP',
        help='compute these steps of the pipeline for whole batches on the GPU, not in data workers: random_erasing, '
        'log_mel (with AudioViews and SpecAugment behind it); on a CPU it is no gain, see docs/data_speed.md',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the global batch size')
    add_common_arguments(parser)
    train(parser.parse_args())


if __name__ == '__main__':
    run_tool(main)
