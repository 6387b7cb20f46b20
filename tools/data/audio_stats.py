#!/usr/bin/env python
"""Computes mean and standard deviation of a dataset's log-mels, for norm.audio in its config.

The middle window of every clip of the training list counts, without augmentation, in double precision. The result does
not depend on the number of processes.
"""

import argparse
from dataclasses import asdict

from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json
from mmav.preparation.audio_stats import front_end, measure
from mmav.registry import DATASETS

EXAMPLE = """examples:
  python tools/data/audio_stats.py configs/mmt/mmt_tiny_avsynth.py
  python tools/data/audio_stats.py configs/mmt/mmt_k4_l4_kinetics_sounds.py --data-root data/ks_256 --json stats.json"""
BROKEN_SHOWN = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config whose training list, LoadClip and audio front end are used')
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--ann-file', metavar='FILE', help='another list, e.g. train_clean.csv')
    parser.add_argument('--jobs', type=int, metavar='N', help='processes; default: one per core')
    parser.add_argument(
        '--time-limit', type=float, default=600.0, metavar='S',
        help='seconds after which to give up on a file; default: %(default)g',
    )  # fmt: skip
    parser.add_argument('--json', metavar='FILE', help='write all numbers to this file')
    args = parser.parse_args()
    if args.json:
        check_output(args.json, inputs=[args.config], suffixes=['.json'])
    cfg = load_checked_config(args.config, data_root=args.data_root)
    options = cfg.train_dataloader.dataset.to_dict()
    if options.get('type') != 'AVDataset':
        raise ConfigError(f"'{args.config}' trains on {options.get('type')!r}; this tool measures an AVDataset")
    load, spectrogram = front_end(options.pop('pipeline'))
    options.pop('modality_dropout', None)
    changes = dict(ann_file=args.ann_file) if args.ann_file else {}
    dataset = DATASETS.build({**options, **changes, 'pipeline': [], 'modalities': ['audio']})
    found = measure(dataset, load, spectrogram, jobs=args.jobs, time_limit=args.time_limit)
    print(
        f'{found.clips} clips of {dataset.ann_file}, {found.silent} without audio, {len(found.broken)} unreadable; '
        f'{found.padding:.1%} of the spectrograms ({spectrogram.num_bins} x {spectrogram.target_frames}) is padding'
    )
    for path, reason in found.broken[:BROKEN_SHOWN]:
        print(f'  {path}: {reason}')
    if len(found.broken) > BROKEN_SHOWN:
        print(f'  and {len(found.broken) - BROKEN_SHOWN} more')
    print(f'audio:        audio=dict(mean={found.mean:.4f}, std={found.std:.4f})')
    print(f'with padding: audio=dict(mean={found.padded_mean:.4f}, std={found.padded_std:.4f})')
    if args.json:
        write_json(args.json, {**asdict(found), 'config': args.config, 'ann_file': dataset.ann_file})


if __name__ == '__main__':
    run_tool(main)
