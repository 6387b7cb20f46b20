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

from mmav.analysis.ablation import RESULT, Row, draw, markdown_table, read_results
from mmav.analysis.pages import fill_block, read_block
from mmav.checkpoints import last_checkpoint
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.evaluation.class_order import load_alike
from mmav.evaluation.clustering import cluster_metrics
from mmav.evaluation.predictions import accuracy_of, average_predictions, load_predictions, read_features
from mmav.files import atomic_write
from mmav.outputs import check_folder, check_output, write_json
from mmav.parallel import cpu_count
from mmav.threads import CORES, COUNTS

ROOT = Path(__file__).resolve().parents[2]
PICTURE_FILE = 'ablation.png'
TOOL = 'tools/analysis_tools/run_ablation.py'
SOUND, PICTURE = 'configs/mat/mat_tiny_avsynth.py', 'configs/mvitv2/mvitv2_tiny_avsynth.py'
# in the order of the paper's Table 3; then MAT's stages
ROWS = [
    Row('sound only, AST', 'configs/ast/ast_tiny_avsynth.py'),
    Row('sound only, MAT', SOUND),
    Row('picture only, MViTv2', PICTURE),
    Row('Avg, trained apart', 'avg_apart', parts=(SOUND, PICTURE)),
    Row('Avg, trained together', 'configs/mmt/mmt_tiny_avg_avsynth.py'),
    Row('Concat', 'configs/mmt/mmt_tiny_concat_avsynth.py'),
    Row('merged attention', 'configs/mmt/mmt_tiny_merged_avsynth.py'),
    Row('MBT', 'configs/mbt/mbt_tiny_avsynth.py'),
    Row('AVBottleneck without MAT', 'configs/mmt/mmt_tiny_no_mat_avsynth.py'),
    Row('AVBottleneck', 'configs/mmt/mmt_tiny_avsynth.py'),
    Row('+ AL', 'configs/mmt/mmt_tiny_al_avsynth.py'),
    Row('+ AVC', 'configs/mmt/mmt_tiny_avc_avsynth.py'),
    Row('+ AVC, two views', 'configs/mmt/mmt_tiny_avc_2views_avsynth.py'),
    Row('+ AVC + IM-AL, two views', 'configs/mmt/mmt_tiny_avc_imal_avsynth.py'),
    Row('+ AVC + IMC, two views (MMT)', 'configs/mmt/mmt_tiny_avc_imc_avsynth.py'),
    Row('AVBottleneck, MAT of one scale', 'configs/mmt/mmt_tiny_single_scale_avsynth.py'),
    Row('AVBottleneck, MAT pooling time only', 'configs/mmt/mmt_tiny_time_only_avsynth.py'),
    Row('AVBottleneck, MAT pooling both axes only', 'configs/mmt/mmt_tiny_2d_only_avsynth.py'),
]
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
    parser.add_argument('--page', default=str(ROOT / 'configs/mmt/README.md'), help="page to fill in; '' for none")
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; the cores are shared among them')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='K=V', help='as in tools/train.py')
    args = parser.parse_args()
    rows = [row for row in ROWS if not args.only or args.only in row.config]
    if not rows:
        raise MmavError(f"--only {args.only}: no row's config has this in its name")
    if args.page:
        block = read_block(args.page, 'ablation', TOOL)  # to fail now rather than after hours
    check_folder(args.work_dir, remedy='give another one with --work-dir')
    picture = Path(args.page).parent / PICTURE_FILE if args.page else args.work_dir / PICTURE_FILE
    # the picture that the page's block shows is the one that this tool has put there
    if not (args.page and f'({PICTURE_FILE})' in block):
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

    results = read_results(ROWS if args.page else rows, args.seeds, args.work_dir)
    table = markdown_table(results, args.seeds, f'AVSynth, 16 pairs, {args.epochs} epochs')
    print(table)
    if args.page:
        content = f'{table}\n\n![Top-1 of each row: mean, standard deviation, seeds]({picture.name})'
        fill_block(args.page, 'ablation', TOOL, content)
        print(f'written: {args.page}')
    draw(results, drawn, f'AVSynth, 16 pairs, {args.epochs} epochs, seeds {", ".join(map(str, args.seeds))}')
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
    seeds = [f'randomness.seed={seed}', f'train_dataloader.dataset.seed={seed}']
    cores = max(cpu_count() // args.jobs, 1)
    predictions = folder / 'predictions.pkl'
    with open(folder / 'output.txt', 'ab') as log:
        train = ['train.py', config, *data, '--work-dir', folder, '--resume', '--cfg-options', *seeds, *options]
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
