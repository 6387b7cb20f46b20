#!/usr/bin/env python
"""Extracts features once: runs the frozen encoders of a config over its clips and stores their tokens, on which
`train --features` trains necks, heads and contrastive losses in seconds. A run that was killed goes on where it was.
"""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import DictAction

from mmav.checkpoints import require_checkpoint
from mmav.config.device_steps import move_to_workers
from mmav.config.reading import key_value, load_checked_config
from mmav.datasets.features.index import DTYPES
from mmav.engine.cli import run_tool
from mmav.engine.distributed.group import export_ranks
from mmav.engine.features.encoders import WHAT, encoder_digests, load_encoders, save_encoders, untrained
from mmav.engine.features.extraction import Extraction
from mmav.engine.features.plan import SPLITS, Options, list_of, splits_of
from mmav.engine.features.report import summary
from mmav.inference.trained_model import find_device
from mmav.outputs import check_folder

EXAMPLE = """examples:
  python tools/extract_features.py CONFIG CHECKPOINT --out features/mine
  python tools/train.py CONFIG --features features/mine
  python tools/extract_features.py CONFIG CHECKPOINT --out features/mine --split train --augment 4 --dtype float16
  torchrun --nproc_per_node 8 -m mmav extract-features CONFIG CHECKPOINT --out features/mine --launcher pytorch"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, or the name of a config that comes with mmav')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint of mmav train; without it the encoders start as in training, from what their init_cfg names',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the features, a sub-folder per split')
    parser.add_argument('--split', nargs='+', choices=SPLITS, help='default: all that the config has')
    parser.add_argument(
        '--tokens',
        choices=WHAT,
        default='auto',
        help='what to store: auto (what the neck of the config reads; set its token_grids for fewer), all, or cls (the '
        'class embeddings alone); default: auto',
    )
    parser.add_argument('--views', type=int, metavar='N', help="views of the test pipeline; default: the config's")
    parser.add_argument(
        '--windows',
        type=int,
        default=1,
        metavar='N',
        help='windows of each clip, spread evenly over it and stored as its views; for long clips',
    )
    parser.add_argument(
        '--augment',
        type=int,
        metavar='N',
        help='read each training clip N times with the training pipeline, as its first N epochs do',
    )
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='of the stored numbers; default: float32')
    parser.add_argument(
        '--amp', choices=['none', 'bfloat16', 'float16'], default='none', help='what the encoders compute in'
    )
    parser.add_argument('--batch-size', type=int, metavar='N', help="clips in a batch; default: the config's")
    parser.add_argument('--workers', type=int, metavar='N', help="processes that read clips; default: the config's")
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU where there is one')
    parser.add_argument('--data-root', help='folder of the data, instead of the one in the config')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='what started the processes'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V', help='as in training'
    )
    args = parser.parse_args()
    if args.checkpoint:
        require_checkpoint(args.checkpoint)
    check_folder(args.out)
    cfg = load_checked_config(args.config, args.cfg_options, args.data_root)
    move_to_workers(cfg)
    splits = args.split or splits_of(cfg)
    for split in splits:  # before anything is written
        list_of(cfg, split)
    rank, world = 0, 1
    if args.launcher != 'none':
        export_ranks(args.launcher)
        rank, world = int(os.environ['RANK']), int(os.environ['WORLD_SIZE'])
        import torch  # not above: mmav comes before PyTorch and sets how its threads wait

        if args.device is None and torch.cuda.is_available():
            args.device = f'cuda:{int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()}'
    model = load_encoders(cfg, args.checkpoint)
    weights = encoder_digests(model.state_dict())
    if rank == 0:
        if not args.checkpoint and (random := untrained(model)):
            what = (
                f'the encoders of {" and ".join(random)} are random'
                if random[1:]
                else f'the {random[0]} encoder is random'
            )
            print(f'WARNING: no CHECKPOINT and no init_cfg: {what}, and features of it say little', file=sys.stderr)
        print(f'encoders: {save_encoders(model, args.out, weights)}', flush=True)
    for split in splits:
        extraction = Extraction(
            cfg,
            model,
            Path(args.out, split),
            split=split,
            options=options_for(split, args),
            weights=weights,
            checkpoint=args.checkpoint,
            rank=rank,
            world=world,
            device=find_device(args.device),
            show_progress=rank == 0,
        )
        if rank == 0:
            print(extraction.describe(), flush=True)
        index = extraction.run()
        if index is not None:
            print(summary(index, extraction.folder), flush=True)


def options_for(split: str, args: argparse.Namespace) -> Options:
    return Options(
        views=args.views,
        windows=args.windows,
        augment=args.augment if split == 'train' else None,
        tokens=args.tokens,
        dtype=args.dtype,
        amp=args.amp,
        batch_size=args.batch_size,
        workers=args.workers,
    )


if __name__ == '__main__':
    run_tool(main)
