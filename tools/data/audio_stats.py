#!/usr/bin/env python
"""Computes mean and standard deviation of a dataset's log-mels, for norm.audio in its config.

The middle window of every clip of the training list counts, without augmentation, in double precision. The result does
not depend on the number of processes.
"""

import argparse
from dataclasses import asdict

from mmav.config.edits import leaves_of
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json
from mmav.preparation.audio_stats import common_front_end, measure
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
    found_lists = list(leaves_of(cfg.train_dataloader.dataset))
    wrong = [part.get('type') for part in found_lists if part.get('type') != 'AVDataset']
    if wrong or not found_lists:
        raise ConfigError(f"'{args.config}' trains on {(wrong or [None])[0]!r}; this tool measures AVDatasets")
    if args.ann_file and len(found_lists) > 1:
        raise ConfigError(f'--ann-file {args.ann_file}: the config joins {len(found_lists)} lists; change it instead')
    pipelines = [part.to_dict()['pipeline'] for part in found_lists]
    load, spectrogram = common_front_end(pipelines)
    changes = dict(ann_file=args.ann_file) if args.ann_file else {}
    datasets = [
        DATASETS.build({**part.to_dict(), **changes, 'pipeline': [], 'modalities': ['audio'], 'modality_dropout': None})
        for part in found_lists
    ]
    found = measure(datasets, load, spectrogram, jobs=args.jobs, time_limit=args.time_limit)
    names = ' and '.join(dataset.ann_file for dataset in datasets)
    print(
        f'{found.clips} clips of {names}, {found.silent} without audio, {len(found.broken)} unreadable; '
        f'{found.padding:.1%} of the spectrograms ({spectrogram.num_bins} x {spectrogram.target_frames}) is padding'
    )
    for path, reason in found.broken[:BROKEN_SHOWN]:
        print(f'  {path}: {reason}')
    if len(found.broken) > BROKEN_SHOWN:
        print(f'  and {len(found.broken) - BROKEN_SHOWN} more')
    print(f'audio:        audio=dict(mean={found.mean:.4f}, std={found.std:.4f})')
    print(f'with padding: audio=dict(mean={found.padded_mean:.4f}, std={found.padded_std:.4f})')
    if args.json:
        write_json(args.json, {**asdict(found), 'config': args.config, 'ann_file': names})


if __name__ == '__main__':
    run_tool(main)
