#!/usr/bin/env python
"""Trains a model on a folder of clips, tests it and writes a report, in one command.

Put the clips of each class into a sub-folder named after it, or write train.csv and test.csv (columns path,label). The
command looks at every file, holds clips out for validation and test, chooses all settings and says why, trains, and
leaves report.html in the work dir. Nothing is written into DIR. A stopped command goes on where it was.
"""

import argparse
from pathlib import Path

from mmav.analysis.folder.choices import MINUTES
from mmav.analysis.folder.plan import Options
from mmav.analysis.folder.run import dry_run, train_folder
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python tools/train_folder.py clips                  # clips/dog/*.mp4, clips/cat/*.mp4, ...
  python tools/train_folder.py clips --dry-run        # only say what was found and would be chosen
  python tools/train_folder.py clips --minutes 60 --name clips_longer"""


def positive(words: str) -> int:
    number = int(words)
    if number < 1:
        raise argparse.ArgumentTypeError(f'{words} is below 1')
    return number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', metavar='DIR', type=Path, help='folder of the clips')
    parser.add_argument('--name', help='name of the result; default: that of DIR')
    parser.add_argument('--work-dir', type=Path, help='folder of all results; default: work_dirs/NAME')
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--minutes', type=float, default=MINUTES, help='how long training may take; default: %(default)g'
    )
    length.add_argument('--epochs', type=positive, help='passes over the training clips, whatever time they take')
    parser.add_argument(
        '--modalities', nargs='+', choices=MODALITIES, help='what to use of the clips; default: what they have'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of the held-out clips and of training; default: %(default)s'
    )
    parser.add_argument(
        '--source',
        metavar='REGEX',
        help='what of a path tells the recording that a clip was cut from, if names have a pattern of their own; clips '
        "of one recording are held out together, e.g. --source 'subject\\d+'",
    )
    parser.add_argument(
        '--flip', action='store_true', help='mirror videos in training, if left and right mean the same'
    )
    parser.add_argument(
        '--encoder',
        metavar='MODALITY=WHERE',
        action='append',
        default=[],
        help='a pretrained encoder of transformers, its folder or name on the hub, to use frozen in place of training '
        'one from scratch, e.g. --encoder video=encoders/videomae-base --encoder audio=encoders/ast',
    )
    parser.add_argument('--workers', type=int, metavar='N', help='processes that read; default: by the cores')
    parser.add_argument('--jobs', type=positive, metavar='N', help='processes that check files; default: one per core')
    parser.add_argument('--dry-run', action='store_true', help='only say what was found and what would be chosen')
    args = parser.parse_args()
    if not args.minutes > 0:
        raise ConfigError(f'--minutes {args.minutes:g} must be above 0')
    if args.workers is not None and args.workers < 0:
        raise ConfigError(f'--workers {args.workers} must be 0 or more')
    if args.name and args.work_dir:
        raise ConfigError(f'--name {args.name} has no effect with --work-dir: give one of them')
    name = args.name or args.folder.expanduser().resolve().name or 'folder'
    options = Options(
        args.folder.expanduser(),
        args.work_dir or Path('work_dirs') / name,
        modalities=tuple(dict.fromkeys(args.modalities)) if args.modalities else None,
        epochs=args.epochs,
        minutes=args.minutes,
        seed=args.seed,
        source=args.source,
        flips=args.flip,
        encoders=tuple(args.encoder),
        workers=args.workers,
        jobs=args.jobs,
    )
    dry_run(options) if args.dry_run else train_folder(options)


if __name__ == '__main__':
    run_tool(main)
