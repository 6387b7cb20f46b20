#!/usr/bin/env python
"""Draws a sheet of clips with their predictions."""

import argparse

from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.evaluation.actions import as_actions
from mmav.evaluation.predictions import load_predictions
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
    args = parser.parse_args()
    check_picture_name(args.out)
    check_output(args.out, inputs=[args.config, args.predictions])
    rows, classes = load_predictions(args.predictions)
    cfg = load_checked_config(args.config, data_root=args.data_root)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(f"'{args.config}' has no test_dataloader")
    init_default_scope('mmav')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    chosen = pick_rows(rows, args.num)
    inputs = [inputs_of([row], dataset)[0] for row in tqdm(chosen, desc='clips', unit='clip')]
    chosen, names = as_actions(chosen, classes)
    draw_prediction_sheet(chosen, inputs, args.out, classes=names)
    print(f'written: {args.out}')


if __name__ == '__main__':
    run_tool(main)
