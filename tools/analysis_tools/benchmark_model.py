#!/usr/bin/env python
"""Measures a config's model on generated inputs, on a GPU or the CPU: forward pass, backward pass, a training step.

All cases are timed in turn; medians and quartiles. GFLOP/s: the operations of the model's products (get_flops.py; three
times as many with a backward pass) over the time. Peak: the GFLOP/s of a large product of matrices here, in the same
numbers. Memory: the most that tensors take at once, weights and optimizer's state included. Kept: what the forward pass
keeps for the backward pass.
"""

import argparse
import sys
from pathlib import Path

from mmav.engine.precision import DTYPES

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.machine import about, check_counts, place
from benchmarks.measure import MODES
from benchmarks.model import measure_model, speed_rows
from mmav.analysis.pages import fill_block, find_block
from mmav.config.edits import resolve_num_classes
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import MmavError
from mmav.outputs import check_output, write_json
from mmav.tables import markdown_table, text_table

TOOL = 'tools/analysis_tools/benchmark_model.py'
EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_model.py configs/mmt/mmt_tiny_avsynth.py --threads 1
  python tools/analysis_tools/benchmark_model.py configs/mmt/mmt_k4_l4_vggsound.py --dtype bfloat16 --batch-size 8 16
  python tools/analysis_tools/benchmark_model.py configs/mmt/mmt_k4_l4_vggsound.py --modes forward --views 5
  python tools/analysis_tools/benchmark_model.py configs/mat/mat_base_vggsound.py --part audio --checkpointing"""


def main() -> None:
    import torch  # after mmav, which says how its threads wait

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: the GPU if there is one')
    parser.add_argument('--dtype', nargs='+', choices=DTYPES, default=(), help='default: what the config trains in')
    parser.add_argument('--batch-size', nargs='+', type=int, default=[1], metavar='N', help='clips at once; default: 1')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES, help='default: all')
    parser.add_argument('--views', type=int, default=1, metavar='N', help="views of the video in 'forward'; default: 1")
    parser.add_argument('--part', metavar='NAME', help='a backbone, such as audio, in place of the whole model')
    parser.add_argument('--checkpointing', action='store_true', help='compute the blocks again in the backward pass')
    parser.add_argument('--compile', action='store_true', help='torch.compile; its own time is not counted')
    parser.add_argument('--threads', type=int, metavar='N', help='threads on the CPU; default: one per core')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='how often each case is timed; default: 5')
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the machine to this file')
    parser.add_argument('--page', metavar='FILE.md', help='write the table into the block of this config of a page')
    args = parser.parse_args()
    check_counts(args, 'threads', 'rounds', 'views', 'batch_size')
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    name = block_name(args, device)
    if args.json:
        check_output(args.json, inputs=[args.config], suffixes=['.json'])
    if args.page:
        find_block(args.page, name, TOOL)
    cfg = load_checked_config(args.config)
    try:
        resolve_num_classes(cfg)
    except MmavError:
        resolve_num_classes(cfg, classes=('a', 'b'))  # the data are not there; the classes cost next to nothing
    if args.threads:
        torch.set_num_threads(args.threads)
    found = measure_model(
        cfg,
        device=device,
        dtypes=args.dtype,
        batch_sizes=args.batch_size,
        modes=args.modes,
        rounds=args.rounds,
        views=args.views,
        part=args.part,
        checkpointing=args.checkpointing,
        compiled=args.compile,
        progress=True,
    )
    where = place(device)
    rows = speed_rows(found['results'])
    peaks = ', '.join(f'{speed / 1e9:.4g} GFLOP/s in {dtype}' for dtype, speed in found['peaks'].items())
    print(f'{name}: {where}, median of {args.rounds}; peak: {peaks}\n{text_table(rows, left=2)}')
    if args.page:
        fill_block(args.page, name, TOOL, f'{markdown_table(rows)}\n\nPeak of the machine, {where}: {peaks}.')
    if args.json:
        write_json(args.json, about(vars(args), device) | found)


def block_name(args: argparse.Namespace, device: str) -> str:
    """The config and what is out of the ordinary, so that a page can hold several tables of a config."""
    notes = [
        f'part: {args.part}' if args.part else '',
        f'views: {args.views}' if args.views > 1 else '',
        'checkpointing' if args.checkpointing else '',
        'compiled' if args.compile else '',
        'cuda' if device == 'cuda' else '',
        f'threads: {args.threads}' if args.threads else '',
    ]
    return ', '.join([Path(args.config).stem, *filter(None, notes)])


if __name__ == '__main__':
    run_tool(main)
