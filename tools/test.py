#!/usr/bin/env python
"""Tests a checkpoint on the test set of a config."""

import argparse

from mmav.config.amp import AMP
from mmav.engine.cli import run_tool
from mmav.engine.launch import add_common_arguments, test
from mmav.engine.testing import add_test_arguments
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python tools/test.py configs/mmt/mmt_tiny_avsynth.py work_dirs/mmt_tiny_avsynth/epoch_10.pth --out metrics.json
  python tools/test.py configs/mmt/mmt_tiny_avsynth.py work_dirs/mmt_tiny_avsynth/epoch_10.pth --drop audio
  python tools/test.py configs/mmt/mmt_k4_l4_vggsound.py CHECKPOINT --views 5 --crops 3 --flip
  python tools/test.py configs/mmt/mmt_k4_l4_epic_kitchens.py CHECKPOINT --unlabelled unlabelled.csv --dump p.pkl
  tools/dist_test.sh configs/mmt/mmt_k4_l4_vggsound.py CHECKPOINT 8 --dump predictions.pkl"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or the name of a config that comes with mmav')
    parser.add_argument('checkpoint', help='checkpoint file (.pth)')
    parser.add_argument('--out', metavar='FILE.json', help='write the metrics to this file')
    parser.add_argument(
        '--dump',
        metavar='FILE.pkl',
        help='write the prediction for every clip to this file, with its feature if model.keep_features is on',
    )
    parser.add_argument(
        '--drop',
        choices=MODALITIES,
        help='withhold this modality from every clip, to test the model on the other one alone',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=AMP,
        help='faster, with slightly different results: auto (--amp alone), bfloat16 or float16 as in training; '
        'without it testing is in float32',
    )
    add_test_arguments(parser)
    add_common_arguments(parser)
    test(parser.parse_args())


if __name__ == '__main__':
    run_tool(main)
