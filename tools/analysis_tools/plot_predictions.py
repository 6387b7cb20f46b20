#!/usr/bin/env python
"""Draws a sheet of clips with their predictions."""

import argparse

from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.evaluation.actions import as_actions
from mmav.evaluation.predictions import is_multi_label, load_predictions
from mmav.evaluation.thresholds import read_thresholds
from mmav.outputs import check_output
from mmav.registry import DATASETS
from mmav.visualization.figures import check_picture_name
from mmav.visualization.prediction_sheet import draw_prediction_sheet, inputs_of, pick_rows

EXAMPLE = """example:
  python tools/test.py CONFIG CHECKPOINT --dump predictions.pkl
  python tools/analysis_tools/plot_predictions.py CONFIG predictions.pkl sheet.png --num 10"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config that the predictions were made with')
    parser.add_argument('predictions', help='file written by tools/test.py --dump')
    parser.add_argument('out', help='image to write, e.g. sheet.png')
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--num', type=int, default=8, help='number of clips')
    parser.add_argument(
        '--thresholds',
        metavar='FILE|NUMBER',
        help='of clips with any number of labels: from which probability on a class is predicted for a clip; a file of '
        'mmav thresholds, or one number; default: 0.5',
    )
    args = parser.parse_args()
    check_picture_name(args.out)
    if args.num < 1:
        raise ConfigError(f'--num {args.num}: give a number from 1 on')
    check_output(args.out, inputs=[args.config, args.predictions, *filter(None, [args.thresholds])])
    rows, classes = load_predictions(args.predictions)
    if args.thresholds is not None and not is_multi_label(rows):
        raise MmavError(f"--thresholds is for clips with any number of labels: those of '{args.predictions}' have one")
    chosen, names = as_actions(pick_rows(rows, args.num), classes)
    thresholds = read_thresholds(0.5 if args.thresholds is None else args.thresholds).of(names)
    cfg = load_checked_config(args.config, data_root=args.data_root)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f"'{args.config}' has no test_dataloader")
    init_default_scope('mmav')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    inputs = [inputs_of([row], dataset)[0] for row in tqdm(chosen, desc='clips', unit='clip')]
    draw_prediction_sheet(chosen, inputs, args.out, classes=names, thresholds=thresholds)
    print(f'written: {args.out}')


if __name__ == '__main__':
    run_tool(main)
