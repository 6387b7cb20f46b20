#!/usr/bin/env python
"""Runs everything once: writes AVSynth, trains the small MMT on it, tests it and draws its predictions."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from mmav.checkpoints import last_checkpoint
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.predictions import load_predictions
from mmav.outputs import check_folder, program, read_record, write_json, write_output

ROOT = Path(__file__).resolve().parents[1]
MARK = 'demo.txt'
WRITERS = {
    'demo.py': ['summary.json', MARK],
    'test.py': ['metrics.json', 'predictions.pkl'],
    'plot_predictions.py': ['predictions.png'],
}
FILES = [name for names in WRITERS.values() for name in names]
EXAMPLE = """example:
  python tools/demo.py --data-root data/avsynth --work-dir work_dirs/demo"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=str(ROOT / 'configs/mmt/mmt_tiny_avsynth.py'), help='what to train')
    parser.add_argument('--data-root', default='data/avsynth', help='folder of the dataset, written if it is missing')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='folder for all results')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='K=V', help='as in tools/train.py')
    parser.add_argument(
        '--data-options', nargs='+', default=[], metavar='K=V', help='as in make_avsynth.py, e.g. train=64'
    )
    args = parser.parse_args()
    run_demo(args)


def run_demo(args: argparse.Namespace) -> None:
    start = time.monotonic()
    work_dir = Path(args.work_dir)
    common = [args.config, '--data-root', args.data_root]
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    data_options = [word for option in args.data_options for word in ('--' + option).split('=', 1)]
    claim(work_dir)
    predictions, metrics, picture = (work_dir / name for name in ('predictions.pkl', 'metrics.json', 'predictions.png'))

    step(1, 'data', 'data/avsynth/make_avsynth.py', args.data_root, *data_options)
    forget(work_dir)
    step(2, 'training', 'train.py', *common, '--work-dir', work_dir, *options)
    checkpoint = last_checkpoint(work_dir)
    outputs = ['--out', metrics, '--dump', predictions, '--work-dir', work_dir / 'test']
    step(3, 'test', 'test.py', args.config, checkpoint, *common[1:], *outputs, *options)
    step(4, 'picture', 'analysis_tools/plot_predictions.py', args.config, predictions, picture, *common[1:])

    result = json.loads(metrics.read_text(encoding='utf-8'))
    classes = (load_predictions(predictions)[1] or {}).get('label', [])
    summary = dict(
        top1=result['top1'], top5=result['top5'], num_classes=len(classes), seconds=round(time.monotonic() - start, 1)
    )
    write_json(str(work_dir / 'summary.json'), summary)
    print(f'\n{json.dumps(summary)}')
    for what, path in (('summary', work_dir / 'summary.json'), ('picture', picture), ('checkpoint', checkpoint)):
        print(f'{what:>10}: {path}')


def step(number: int, title: str, tool: str, *arguments: object) -> None:
    """Runs one tool and shows the command, which can be used by itself."""
    words = [str(argument) for argument in arguments]
    print(f'\n[{number}/4] {title}: python tools/{tool} {" ".join(words)}', flush=True)
    if subprocess.run([sys.executable, str(ROOT / 'tools' / tool), *words]).returncode:
        raise MmavError(f'step {number} ({title}) failed; its own message stands above')


def claim(work_dir: Path) -> None:
    """Refuses a folder whose files no demo has written; :func:`forget` would delete its checkpoints."""
    remedy = 'give another folder with --work-dir'
    claimed = any(entry.name == MARK for entry in read_record(work_dir))
    # all at once, as a demo of a version without records left them, too
    found = [] if claimed else [name for name in FILES if work_dir.joinpath(name).exists()]
    found += [] if claimed else sorted(path.name for path in work_dir.glob('*.pth'))
    if found:
        raise MmavError(
            f"'{work_dir}' holds {', '.join(found)}, which this demo did not write (an earlier version's, perhaps): "
            f"move the folder away, or {remedy} (make demo ARGS='--work-dir DIR')"
        )
    for tool, names in WRITERS.items():
        with program(tool):
            check_folder(work_dir, names, remedy=remedy)
    write_output(work_dir / MARK, 'This folder is written anew by mmav demo.\n')


def forget(work_dir: Path) -> None:
    """Removes the checkpoints of an earlier demo, which would otherwise pile up beside the new ones."""
    for pattern in ('epoch_*.pth', 'best_*.pth', 'last_checkpoint'):
        for path in work_dir.glob(pattern):
            path.unlink()


if __name__ == '__main__':
    run_tool(main)
