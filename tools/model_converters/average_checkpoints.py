#!/usr/bin/env python
"""Averages the weights of several epochs of a training into one checkpoint. Which is not an ensemble: the result is one
model, as fast as each of them.
"""

import argparse
from pathlib import Path

from mmengine.config import DictAction

from mmav.checkpoints import load_checkpoint_file
from mmav.config.reading import key_value
from mmav.engine.averaging import average_checkpoints, write_average
from mmav.engine.cli import run_tool
from mmav.engine.epoch_files import files_of_epochs, read_epochs
from mmav.errors import ConfigError
from mmav.inference.batch_norm import has_statistics, with_new_statistics
from mmav.outputs import check_output

EXAMPLE = """examples:
  python tools/model_converters/average_checkpoints.py work_dirs/mine --epochs 21-25 --out avg.pth
  python tools/model_converters/average_checkpoints.py run_1/epoch_10.pth run_2/epoch_10.pth --out soup.pth
  python tools/model_converters/average_checkpoints.py work_dirs/mine --epochs 21-25 --update-bn mine.py --out avg.pth
  python tools/test.py mine.py avg.pth"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoints', nargs='+', help='checkpoints of one model; or a work dir, with --epochs')
    parser.add_argument('--epochs', nargs='+', metavar='N', help='of the work dir, such as 21-25, or 10 20 30')
    parser.add_argument('--out', required=True, help='file to write')
    parser.add_argument(
        '--update-bn',
        metavar='CONFIG',
        help='compute running statistics of BatchNorm anew, in one pass over the training data of this config; one '
        'checkpoint is enough then, such as the last one of a run with EMAHook',
    )
    parser.add_argument('--data-root', help='with --update-bn: folder of the data, instead of the one in the config')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        type=key_value,
        default={},
        metavar='K=V',
        help='with --update-bn: change single entries of the config, e.g. train_dataloader.num_workers=8',
    )
    args = parser.parse_args()
    for name in ('data_root', 'cfg_options'):
        if getattr(args, name) and not args.update_bn:
            raise ConfigError(f'--{name.replace("_", "-")} has no effect without --update-bn CONFIG')
    paths = [Path(path) for path in args.checkpoints]
    if args.epochs:
        if len(paths) > 1:
            raise ConfigError('--epochs is for one work dir: give it alone, or the files without --epochs')
        paths = files_of_epochs(paths[0], read_epochs(args.epochs))
    elif paths[0].is_dir():
        raise ConfigError(f"'{paths[0]}' is a folder: say which checkpoints, such as --epochs 21-25")
    check_output(args.out, inputs=paths, suffixes=['.pth', '.pt', '.pyth'])
    if len(paths) == 1 and args.update_bn:
        checkpoint = load_checkpoint_file(paths[0])
    else:
        checkpoint = average_checkpoints(paths)
        print(f'averaged: {", ".join(path.name for path in paths)}')
    if args.update_bn:
        checkpoint, told = with_new_statistics(
            checkpoint, args.update_bn, args.cfg_options, data_root=args.data_root, source=str(paths[-1])
        )
        print(told)
    elif has_statistics(checkpoint):
        print(
            'note: running statistics of BatchNorm are averaged like weights, and are not those of the averaged '
            'weights: --update-bn CONFIG computes them anew'
        )
    write_average(args.out, checkpoint)
    print(f'written: {args.out}, {len(checkpoint["state_dict"])} weights')


if __name__ == '__main__':
    run_tool(main)
