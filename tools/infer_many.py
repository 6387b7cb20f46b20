#!/usr/bin/env python
"""Classifies many clips, of lists, folders, buckets and addresses, into JSON lines or Parquet.

The same command again goes on where it was ended or killed.
"""

import argparse
import os

from mmav.apis import AVInferencer
from mmav.datasets.media.remote_file import Patience, is_address
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.inference.clip_lists import COLUMN, list_clips
from mmav.inference.many import classify_many, settings_of
from mmav.inference.results import MERGES
from mmav.inference.row_files import check_row_file, open_rows
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python tools/infer_many.py clips.txt --config CONFIG --checkpoint CHECKPOINT --out results.jsonl
  python tools/infer_many.py s3://bucket/2026/ --config CONFIG --checkpoint CHECKPOINT --out results.parquet
  python tools/infer_many.py test.csv --root data/vggsound --config CONFIG --checkpoint CHECKPOINT --out a.jsonl"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='a list (.txt with a path or address a line, .csv or .tsv with a column of them), a media file, a folder, '
        'an address, or a prefix of a bucket such as s3://bucket/clips/ (fsspec)',
    )
    parser.add_argument('--config', required=True, help='config file of the model')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file (.pth or .safetensors)')
    parser.add_argument(
        '--out',
        required=True,
        metavar='FILE',
        help='a .jsonl file, or a .parquet folder; if there is one, it is continued',
    )
    parser.add_argument('--column', default=COLUMN, help=f'column of a table with the clips; default: {COLUMN}')
    parser.add_argument(
        '--root', default='', metavar='DIR', help='folder of the relative paths in lists; default: here'
    )
    parser.add_argument('--retry-failed', action='store_true', help='try those again that failed in a run before')
    parser.add_argument('--workers', type=int, default=8, metavar='N', help='clips fetched at a time; default: 8')
    parser.add_argument('--tries', type=int, default=4, metavar='N', help='attempts at an address; default: 4')
    parser.add_argument('--timeout', type=float, default=60, metavar='S', help='seconds for each; default: 60')
    parser.add_argument(
        '--max-megabytes',
        type=float,
        default=1024,
        metavar='MB',
        help='largest remote clip that is read; default: 1024',
    )
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='number of labels; default: 5')
    parser.add_argument('--window', type=float, metavar='S', help="seconds of a window; default: the config's")
    parser.add_argument('--stride', type=float, metavar='S', help='seconds between windows; default: the window')
    parser.add_argument('--drop', choices=MODALITIES, help='withhold this modality from the model')
    parser.add_argument(
        '--merge', choices=MERGES, default='mean', help='what the windows of a clip say together; default: mean'
    )
    parser.add_argument('--classes', help='class list, one name a line; default: that of the checkpoint')
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on a clip has one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='windows in a batch; default: 8')
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    args = parser.parse_args()
    for name in ('workers', 'tries', 'timeout', 'max_megabytes', 'topk', 'window', 'stride', 'batch_size'):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ConfigError(f'--{name.replace("_", "-")} {value:g} must be above 0')
    check_row_file(args.out)
    if args.root and not os.path.isdir(args.root):
        raise ConfigError(f"--root '{args.root}' is no folder")
    clips = list_clips(args.inputs, column=args.column, root=args.root)
    inferencer = AVInferencer(
        args.config,
        args.checkpoint,
        device=args.device,
        classes=args.classes,
        thresholds=args.thresholds,
        show_progress=False,
    )
    asked = dict(window=args.window, stride=args.stride, topk=args.topk, drop=args.drop, merge=args.merge)
    settings = settings_of(inferencer, args.checkpoint, **asked)
    with open_rows(args.out, settings, parts=list(inferencer.model.head.parts)) as out:
        count = classify_many(
            inferencer,
            clips,
            out,
            batch_size=args.batch_size,
            workers=args.workers,
            patience=Patience(args.tries, args.timeout, args.max_megabytes),
            retry_failed=args.retry_failed,
            **{**asked, 'drop': [args.drop] if args.drop else []},
        )
    remote = sum(map(is_address, clips))
    print(
        f'{count.clips} clips ({remote} remote), {count.before} of them from a run before: '
        f'{count.clips - count.failed} classified, {count.failed} failed; rows: {args.out}'
    )
    if count.failed == count.clips:
        raise MmavError(
            f"no clip could be classified: 'error' of the rows in {args.out} says why; --root gives the folder of the "
            'relative paths in a list, and --retry-failed makes the rows anew'
        )


if __name__ == '__main__':
    run_tool(main)
