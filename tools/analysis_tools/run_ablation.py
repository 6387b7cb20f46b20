#!/usr/bin/env python
"""Trains and tests every row of the AVSynth ablation over several seeds and writes the table. A run that ended is not
repeated and one that was interrupted goes on, so the command can be given again at any time.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from mmav.analysis.ablation.files import read_rows
from mmav.analysis.ablation.picture import draw
from mmav.analysis.ablation.report import markdown_block, section, store
from mmav.analysis.ablation.results import RESULT, read_results
from mmav.analysis.ablation.rows import Row
from mmav.analysis.pages import fill_block, read_block
from mmav.checkpoints import last_checkpoint
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.clustering import cluster_metrics
from mmav.evaluation.predictions import accuracy_of, average_predictions, load_predictions, read_features
from mmav.files import atomic_write
from mmav.outputs import check_folder, check_output, write_json
from mmav.threads import CORES, COUNTS, cpu_count

ROOT = Path(__file__).resolve().parents[2]
PICTURE_FILE = 'ablation.png'
TOOL = 'tools/analysis_tools/run_ablation.py'
FOLDER = ROOT / 'configs' / 'mmt'
METAFILE = FOLDER / 'metafile.yml'
DATASET = 'AVSynth, 16 pairs'
EXAMPLE = f"""example:
  python {TOOL}                                    # all rows, seeds 0 1 2, one run after another
  python {TOOL} --jobs 2                           # two runs at a time
  python {TOOL} --only concat --seeds 0 --page ''  # one row, no page written"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--only', metavar='TEXT', help='only rows whose config has this text in its name')
    parser.add_argument('--epochs', type=int, default=4, help='epochs of each run (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=16, help='clips a step (default: %(default)s)')
    parser.add_argument('--data-root', default='data/avsynth', help='AVSynth; written if it is not there')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument(
        '--page', help="page to fill in, '' for none (default: configs/mmt/README.md, and the metafile.yml beside it)"
    )
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; the cores are shared among them')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='K=V', help='as in tools/train.py')
    args = parser.parse_args()
    listed = read_rows(METAFILE)
    own = args.page is None
    page = str(FOLDER / 'README.md') if own else args.page
    rows = [row for row in listed if not args.only or args.only in row.config]
    if not rows:
        raise MmavError(f"--only {args.only}: no row's config has this in its name")
    if page:
        block = read_block(page, 'ablation', TOOL)  # to fail now rather than after hours
    check_folder(args.work_dir, remedy='give another one with --work-dir')
    picture = Path(page).parent / PICTURE_FILE if page else args.work_dir / PICTURE_FILE
    # the picture that the page's block shows is the one that this tool has put there
    if not (page and f'({PICTURE_FILE})' in block):
        check_output(picture)
    drawn = args.work_dir / PICTURE_FILE
    check_output(drawn)
    options = [*recipe(args.epochs, args.batch_size), *args.cfg_options]
    remember(args.work_dir, options)

    if not (Path(args.data_root) / 'meta.json').is_file():
        execute('data/avsynth/make_avsynth.py', args.data_root)
    runs = [(row, seed) for seed in args.seeds for row in rows if not row.parts]
    results = read_results(rows, args.seeds, args.work_dir)
    todo = [(row, seed) for row, seed in runs if results[row][args.seeds.index(seed)] is None]
    print(f'{len(runs)} runs, {len(runs) - len(todo)} of them done; logs are in {args.work_dir}')
    with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(todo), unit='run') as bar:
        for _ in pool.map(lambda run: run_one(*run, options, args), todo):
            bar.update()
    for row in rows:
        for seed in args.seeds if row.parts else ():
            average(row, seed, args.work_dir)

    results = read_results(listed if page else rows, args.seeds, args.work_dir)
    found = section(results, dataset=DATASET, epochs=args.epochs, batch_size=args.batch_size, seeds=args.seeds)
    shown = markdown_block(found, picture.name)
    print(shown)
    if own:
        store(METAFILE, found)
        print(f'written: {METAFILE}; make docs puts it into the configs')
    if page:
        fill_block(page, 'ablation', TOOL, shown)
        print(f'written: {page}')
    draw(results, drawn, f'{DATASET}, {args.epochs} epochs, seeds {", ".join(map(str, args.seeds))}')
    if picture != drawn:
        atomic_write(picture, drawn.read_bytes())
    print(f'written: {picture}')


def recipe(epochs: int, batch_size: int) -> list[str]:
    """The overrides that make the small configs' schedule of ten epochs one of ``epochs``."""
    return [
        f'train_dataloader.batch_size={batch_size}',
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        f'param_scheduler.0.end={epochs / 10}',
        f'param_scheduler.1.begin={epochs / 10}',
        f'param_scheduler.1.end={epochs}',
    ]


def remember(work_dir: Path, options: Sequence[str]) -> None:
    """Refuses a folder that holds runs of other options: the table would mix them."""
    file = work_dir / 'options.txt'
    text = '\n'.join(options) + '\n'
    if file.is_file() and file.read_text(encoding='utf-8') != text:
        raise MmavError(f"'{work_dir}' holds runs of other options ({file}): give another folder with --work-dir")
    work_dir.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding='utf-8')


def run_one(row: Row, seed: int, options: Sequence[str], args: argparse.Namespace) -> None:
    """Trains, from the last whole checkpoint if there is one, tests, and writes the figures."""
    folder = row.folder(args.work_dir, seed)
    folder.mkdir(parents=True, exist_ok=True)
    config, data = str(ROOT / row.config), ['--data-root', args.data_root]
    cores = max(cpu_count() // args.jobs, 1)
    predictions = folder / 'predictions.pkl'
    with open(folder / 'output.txt', 'ab') as log:
        train = ['train.py', config, *data, '--work-dir', folder, '--resume']
        train += ['--cfg-options', f'randomness.seed={seed}', *options]
        execute(*train, log=log, cores=cores)
        checkpoint = last_checkpoint(folder)
        test = ['test.py', config, checkpoint, *data, '--work-dir', folder / 'test', '--dump', predictions]
        execute(*test, '--cfg-options', 'model.keep_features=True', *args.cfg_options, log=log, cores=cores)
    figures = {**accuracy_of(load_predictions(predictions)[0]), **cluster_metrics(*read_features(predictions))}
    write_json(str(folder / RESULT), figures)


def average(row: Row, seed: int, work_dir: Path) -> None:
    """Writes the figures of a row that averages the predictions of others, where those are there."""
    dumps = [Row('', part).folder(work_dir, seed) / 'predictions.pkl' for part in row.parts]
    if all(dump.is_file() for dump in dumps):
        folder = row.folder(work_dir, seed)
        folder.mkdir(parents=True, exist_ok=True)
        averaged = average_predictions([rows for rows, _ in load_alike(dumps)])
        write_json(str(folder / RESULT), accuracy_of(averaged))


def execute(tool: str, *arguments: object, log: object = None, cores: int | None = None) -> None:
    """Runs a tool on so many cores; its output goes to ``log``, or to the console."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    own = any(os.environ.get(name) for name in COUNTS)  # a number of threads that the user has set
    env = {**os.environ, CORES: str(cores)} if cores and not own else None
    if subprocess.run(command, stdout=log, stderr=log and subprocess.STDOUT, env=env).returncode:  # type: ignore[call-overload]
        where = f'; see {getattr(log, "name", "")}' if log else ''
        raise MmavError(f'{tool} failed{where}')


if __name__ == '__main__':
    run_tool(main)
