#!/usr/bin/env python
"""Draws the inputs that a config's pipeline makes: frames, spectrogram, label and window of each view of some clips.

With --stages, the clips after each step of the pipeline.
"""

import argparse
from pathlib import Path

from mmengine.config import DictAction
from mmengine.registry import init_default_scope

from mmav.config.device_steps import move_to_workers
from mmav.config.reading import key_value, load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output
from mmav.visualization.dataset_sheet import build_av_datasets, draw_dataset_sheet, read_clips
from mmav.visualization.prediction_sheet import pick_rows

EXAMPLE = """examples:
  python tools/analysis_tools/browse_dataset.py configs/mmt/mmt_tiny_avsynth.py
  python tools/analysis_tools/browse_dataset.py configs/mmt/mmt_k4_l4_vggsound.py --indices 3 17 --stages --epoch 2
  python tools/analysis_tools/browse_dataset.py CONFIG --split test --data-root DIR --out sheet.png"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train', help='whose dataloader')
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        '--clips', type=int, default=8, metavar='N', help='how many clips, evenly from the whole set; default: 8'
    )
    which.add_argument('--indices', type=int, nargs='+', metavar='I', help='these clips, counted from 0')
    parser.add_argument('--stages', action='store_true', help='show the clips after each step of the pipeline')
    parser.add_argument('--out', help='PNG file; default: work_dirs/<config>/browse_<config>_<split>.png')
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--seed', type=int, help="of the augmentation; default: the config's, as in training")
    parser.add_argument('--epoch', type=int, default=0, help='epoch whose augmentation is drawn, from 0; default: 0')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V',
        help='change single entries of the config',
    )  # fmt: skip
    args = parser.parse_args()
    for name in ('clips', 'seed', 'epoch'):
        value = getattr(args, name)
        if value is not None and value < (name == 'clips'):
            raise ConfigError(f'--{name} {value}: give a number from {int(name == "clips")} on')
    config = Path(args.config).stem
    out = args.out or str(Path('work_dirs', config, f'browse_{config}_{args.split}.png'))
    if Path(out).suffix.lower() != '.png':
        raise ConfigError(f'--out {out}: the picture is a PNG file, give a name that ends in .png')
    check_output(out, inputs=[args.config])
    cfg = load_checked_config(args.config, args.cfg_options, args.data_root)
    move_to_workers(cfg)  # so that what they give is drawn, too
    loader = cfg.get(f'{args.split}_dataloader')
    if loader is None:
        raise ConfigError(f"'{args.config}' has no {args.split}_dataloader")
    init_default_scope('mmav')
    datasets = build_av_datasets(loader.dataset)
    for dataset in datasets:
        dataset.follow_seed((cfg.get('randomness') or {}).get('seed') or 0)
        dataset.seed = dataset.seed if args.seed is None else args.seed
        dataset.set_epoch(args.epoch)
    total = sum(len(dataset) for dataset in datasets)
    indices = args.indices or pick_rows(range(total), args.clips)
    clips = read_clips(datasets, indices, stages=args.stages, progress=True)
    draw_dataset_sheet(clips, out, title=f'{config}, {args.split}: {len(indices)} of {total} clips')
    print(f'written: {out}')


if __name__ == '__main__':
    run_tool(main)
