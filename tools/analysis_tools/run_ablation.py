#!/usr/bin/env python
"""Trains and tests every row of the AVSynth ablation over several seeds and writes the table. A run that ended is not
repeated and one that was interrupted goes on, so the command can be given again at any time.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from mmav.analysis.ablation import Row, draw, markdown_table, read_results, replace_block
from mmav.engine.checkpoint_io import atomic_write
from mmav.engine.cli import run_tool
from mmav.errors import MmavError

ROOT = Path(__file__).resolve().parents[2]
TOOL = 'tools/analysis_tools/run_ablation.py'
# in the order of the paper's Table 3
ROWS = [
    Row('sound only, AST', 'configs/ast/ast_tiny_avsynth.py'),
    Row('sound only, MAT', 'configs/mat/mat_tiny_avsynth.py'),
    Row('picture only, MViTv2', 'configs/mvitv2/mvitv2_tiny_avsynth.py'),
    Row('Avg', 'configs/mmt/mmt_tiny_avg_avsynth.py'),
    Row('Concat', 'configs/mmt/mmt_tiny_concat_avsynth.py'),
    Row('merged attention', 'configs/mmt/mmt_tiny_merged_avsynth.py'),
    Row('MBT', 'configs/mbt/mbt_tiny_avsynth.py'),
    Row('AVBottleneck without MAT', 'configs/mmt/mmt_tiny_no_mat_avsynth.py'),
    Row('AVBottleneck', 'configs/mmt/mmt_tiny_avsynth.py'),
    Row('+ AL', 'configs/mmt/mmt_tiny_al_avsynth.py'),
    Row('+ AVC', 'configs/mmt/mmt_tiny_avc_avsynth.py'),
    Row('+ AVC + IM-AL', 'configs/mmt/mmt_tiny_avc_imal_avsynth.py'),
    Row('+ AVC + IMC (MMT)', 'configs/mmt/mmt_tiny_avc_imc_avsynth.py'),
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
    parser.add_argument('--data-root', default='data/avsynth', help='AVSynth; written if it is not there')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'))
    parser.add_argument('--page', default=str(ROOT / 'configs/mmt/README.md'), help="page to fill in; '' for none")
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time; the cores are shared among them')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='K=V', help='as in tools/train.py')
    args = parser.parse_args()
    rows = [row for row in ROWS if not args.only or args.only in row.config]
    if not rows:
        raise MmavError(f"--only {args.only}: no row's config has this in its name")

    execute('data/avsynth/make_avsynth.py', args.data_root)
    runs = [(row, seed) for seed in args.seeds for row in rows]
    results = read_results(rows, args.seeds, args.work_dir)
    todo = [(row, seed) for row, seed in runs if results[row][args.seeds.index(seed)] is None]
    print(f'{len(runs)} runs, {len(runs) - len(todo)} of them done; logs are in {args.work_dir}')
    with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(todo), unit='run') as bar:
        for _ in pool.map(lambda run: run_one(*run, args), todo):
            bar.update()

    results = read_results(ROWS if args.page else rows, args.seeds, args.work_dir)
    table = markdown_table(results, args.seeds, 'AVSynth, 16 pairs')
    print(table)
    picture = args.work_dir / 'ablation.png'
    if args.page:
        page = Path(args.page)
        picture = page.parent / 'ablation.png'
        content = f'{table}\n\n![Top-1 of each row, mean and spread]({picture.name})'
        atomic_write(page, replace_block(page.read_text(), 'ablation', TOOL, content).encode())
        print(f'written: {page}')
    draw(results, picture, f'AVSynth, 16 pairs, seeds {", ".join(map(str, args.seeds))}')
    print(f'written: {picture}')


def run_one(row: Row, seed: int, args: argparse.Namespace) -> None:
    """Trains, from the last whole checkpoint if there is one, and tests."""
    folder = row.folder(args.work_dir, seed)
    folder.mkdir(parents=True, exist_ok=True)
    common = [str(ROOT / row.config), '--data-root', args.data_root]
    seeds = [f'randomness.seed={seed}', f'train_dataloader.dataset.seed={seed}']
    threads = str(max((os.cpu_count() or 1) // args.jobs, 1))
    options = ['--cfg-options', *seeds, *args.cfg_options]
    with open(folder / 'output.txt', 'ab') as log:
        execute('train.py', *common, '--work-dir', folder, '--resume', *options, log=log, threads=threads)
        checkpoint = (folder / 'last_checkpoint').read_text().strip()
        outputs = ['--out', folder / 'metrics.json', '--work-dir', folder / 'test']
        execute('test.py', common[0], checkpoint, *common[1:], *outputs, log=log, threads=threads)


def execute(tool: str, *arguments: object, log: object = None, threads: str | None = None) -> None:
    """Runs a tool; its output goes to ``log``, or to the console."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    env = dict(os.environ, **({'OMP_NUM_THREADS': threads} if threads else {}))
    if subprocess.run(command, stdout=log, stderr=log and subprocess.STDOUT, env=env).returncode:  # type: ignore[call-overload]
        where = f'; see {getattr(log, "name", "")}' if log else ''
        raise MmavError(f'{tool} failed{where}')


if __name__ == '__main__':
    run_tool(main)
