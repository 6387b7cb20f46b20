#!/usr/bin/env python
"""Says what a model uses: tests it with both modalities, each alone, and both shuffled against each other, in one pass
over the data, and writes a report with a picture: modality confusion, synergy, each class.
"""

import argparse
from pathlib import Path
from typing import Any

from mmav.analysis.modality_report.figures import load_conditions
from mmav.analysis.modality_report.report import ModalityReport, file_names
from mmav.analysis.modality_report.testing import check_model, run_conditions
from mmav.checkpoints import require_checkpoint
from mmav.config import edits
from mmav.config.amp import AMP
from mmav.engine.cli import run_tool
from mmav.engine.launch import add_common_arguments, prepare_config
from mmav.errors import ConfigError
from mmav.outputs import check_folder
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python tools/analysis_tools/modality_report.py CONFIG CHECKPOINT --out DIR
  python tools/analysis_tools/modality_report.py CONFIG CHECKPOINT --features features/mine --out DIR
  python tools/analysis_tools/modality_report.py --predictions both.pkl --video video.pkl --audio audio.pkl --out DIR

DIR gets report.html, report.md, modalities.png, report.json, conditions.csv, classes.csv, clips.csv and, of a model,
the predictions both.pkl, video.pkl, audio.pkl, as test --dump and test --drop ... --dump write them."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', help='config file, or the name of a config that comes with mmav')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file (.pth)')
    parser.add_argument('--predictions', metavar='FILE.pkl', help='in place of a model: dump of a test with both')
    parser.add_argument('--video', metavar='FILE.pkl', help='dump of a test with video alone; goes with --predictions')
    parser.add_argument('--audio', metavar='FILE.pkl', help='dump of a test with audio alone; goes with --predictions')
    parser.add_argument('--out', metavar='DIR', help='folder for the report; without it only print')
    parser.add_argument('--seed', type=int, help='of whose sound goes with whose picture; default: 0')
    parser.add_argument('--amp', nargs='?', const='auto', choices=AMP, help='as in tools/test.py')
    add_common_arguments(parser)
    args = parser.parse_args()
    report = _of_dumps(args) if args.predictions or args.video or args.audio else _of_model(args)
    print(report.text())
    if args.out:
        written = report.write(Path(args.out), dumped=args.checkpoint is not None)
        print(f'written to {args.out}: {", ".join(written)}')


def _of_dumps(args: argparse.Namespace) -> ModalityReport:
    for name in ('config', 'checkpoint', 'seed', 'amp', 'work_dir', 'data_root', 'features', 'cache', 'cfg_options'):
        if getattr(args, name) not in (None, {}):
            word = name if name in ('config', 'checkpoint') else f'--{name.replace("_", "-")}'
            raise ConfigError(
                f'{word} has no effect with dumps: give CONFIG CHECKPOINT, or --predictions and the others'
            )
    if not (args.predictions and args.video and args.audio):
        raise ConfigError('--predictions, --video and --audio go together: give the dumps of all three tests')
    alone = {name: getattr(args, name) for name in MODALITIES}
    if args.out:
        check_folder(args.out, file_names(MODALITIES, dumped=False), inputs=[args.predictions, *alone.values()])
    rows, classes, lost = load_conditions(args.predictions, alone)
    notes = [f'{count:,} clips of {path} are left out, as another dump lacks them.' for path, count in lost.items()]
    given = dict(predictions=args.predictions, **alone)
    return ModalityReport(rows, classes, MODALITIES, title=args.predictions, notes=notes, given=given)


def _of_model(args: argparse.Namespace) -> ModalityReport:
    if not (args.config and args.checkpoint):
        raise ConfigError('give CONFIG CHECKPOINT, or the dumps of three tests: --predictions, --video and --audio')
    if args.launcher != 'none':
        raise ConfigError(f'--launcher {args.launcher}: a modality report is made by one process; leave it out')
    require_checkpoint(args.checkpoint)
    cfg = prepare_config(args, work_dir_suffix='modality_report', loaders=['test_dataloader'])
    names = check_model(cfg)
    if args.out:
        check_folder(args.out, file_names(names, dumped=True), inputs=[args.config, args.checkpoint])
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:
        edits.set_eval_amp(cfg, args.amp, options=args.cfg_options)
    seed = args.seed or 0
    rows, classes = run_conditions(cfg, seed=seed)
    given: dict[str, Any] = dict(config=args.config, checkpoint=args.checkpoint, seed=seed)
    title = f'{Path(args.config).stem}, {Path(args.checkpoint).name}'
    return ModalityReport(rows, classes, names, title=title, given=given)


if __name__ == '__main__':
    run_tool(main)
