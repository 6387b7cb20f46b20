#!/usr/bin/env python
"""Measures the forms of multiscale attention at the sizes of a config's encoders, on a GPU or the CPU.

All forms are timed in turn on generated inputs, from queries, keys, values and the tables of relative positions on;
medians. Each pair: milliseconds of a forward pass in inference mode
and of one with its backward pass. Floor: the operations of the two products (three times as many with a backward pass)
over what a large product of matrices reaches here. Off by: largest difference from explicit attention in float32, over
the largest value; where that is too much it is said, marked (!) and written to the JSON file as "disagreement", and the
exit status is 1. Heads: their number x the width of one. Folded by: the kernel of PyTorch's that takes the folded form
on this GPU (forward pass alone / with its backward pass, where they differ).

With --capability nothing is timed and no GPU needed: it tells which kernel PyTorch takes for the folded form of each
block on such a GPU, by its rules, and the width that queries and keys, and values, then have.
"""

import argparse
import sys
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.attention import FORMS, attention_rows, measure_attention
from benchmarks.attention_shapes import expected_kernels, kernel_rows, read_capability
from benchmarks.machine import about, check_counts, place
from mmav.analysis.pages import fill_block, find_block
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.engine.precision import DTYPES
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json
from mmav.tables import markdown_table, text_table

ROUNDS = 5
TOOL = 'tools/analysis_tools/benchmark_attention.py'
EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_attention.py configs/mmt/mmt_tiny_avsynth.py --threads 1
  python tools/analysis_tools/benchmark_attention.py configs/mmt/mmt_k4_l4_vggsound.py --forms explicit tiled --rounds 9
  python tools/analysis_tools/benchmark_attention.py configs/mat/mat_base_vggsound.py --device cuda --dtype bfloat16
  python tools/analysis_tools/benchmark_attention.py configs/mat/mat_tiny_avsynth.py --dtype float16 --capability 8.0"""


def main() -> None:
    import torch  # after mmav, which says how its threads wait

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    forms = 'default: those that there are for the device and the type, but flex, whose compilation takes minutes'
    parser.add_argument('--forms', nargs='+', choices=FORMS, default=(), help=forms)
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: the GPU if there is one')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='type of all tensors; default: float32')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='clips at once; default: 1')
    parser.add_argument('--threads', type=int, metavar='N', help='threads on the CPU; default: one per core')
    parser.add_argument('--rounds', type=int, metavar='N', help=f'how often each form is timed; default: {ROUNDS}')
    parser.add_argument(
        '--capability', metavar='X.Y', help="of a GPU that need not be here: which kernel takes each block's attention"
    )
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the machine to this file')
    parser.add_argument('--page', metavar='FILE.md', help='write the table into the block of this config of a page')
    args = parser.parse_args()
    check_counts(args, 'threads', 'rounds', 'batch_size')
    if args.json:
        check_output(args.json, inputs=[args.config], suffixes=['.json'])
    if args.capability:
        tell_kernels(args)
        return
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    rounds = args.rounds or ROUNDS
    name = block_name(args, device)
    if args.page:
        find_block(args.page, name, TOOL)
    cfg = load_checked_config(args.config)
    if args.threads:
        torch.set_num_threads(args.threads)
    found = measure_attention(
        cfg,
        forms=args.forms,
        device=device,
        dtype=args.dtype,
        batch_size=args.batch_size,
        rounds=rounds,
        progress=True,
    )
    where = place(device)
    rows = attention_rows(found['results'])
    peak = f'{found["peak"] / 1e9:.4g} GFLOP/s in {args.dtype}'
    print(f'{name}: {where}, median of {rounds}; forward / with backward; peak: {peak}\n{text_table(rows)}')
    if args.page:
        note = f'Forward pass / with its backward pass, median of {rounds}. Peak of the machine, {where}: {peak}.'
        fill_block(args.page, name, TOOL, f'{markdown_table(rows)}\n\n{note}')
    if args.json:
        write_json(args.json, about(vars(args), device) | found)
    lines = [form['disagreement'] for result in found['results'] for form in result['forms'].values()]
    for line in filter(None, lines):
        print(f'difference: {line}', file=sys.stderr)
    if any(lines):
        sys.exit(1)


def tell_kernels(args: argparse.Namespace) -> None:
    """Prints and writes which kernel PyTorch takes on a GPU of ``--capability``."""
    capability = read_capability(args.capability)
    timing = {'--forms': args.forms, '--device': args.device, '--threads': args.threads, '--rounds': args.rounds}
    for option, value in timing.items():
        if value:
            raise ConfigError(f'{option} has no effect with --capability, which times nothing: leave it out')
    name = f'kernels of {block_name(args, "")}, capability: {args.capability}'
    if args.page:
        find_block(args.page, name, TOOL)
    cfg = load_checked_config(args.config)
    results = expected_kernels(cfg, capability, dtype=args.dtype, batch_size=args.batch_size)
    rows = kernel_rows(results)
    print(f'{name}: by the rules of PyTorch 2.14, in {args.dtype}\n{text_table(rows)}')
    if args.page:
        fill_block(args.page, name, TOOL, markdown_table(rows))
    if args.json:
        write_json(args.json, about(vars(args), 'cpu') | dict(results=results))


def block_name(args: argparse.Namespace, device: str) -> str:
    """The config and what is out of the ordinary, so that a page can hold several tables of a config."""
    notes = [
        f'forms: {" ".join(args.forms)}' if args.forms else '',
        f'clips: {args.batch_size}' if args.batch_size > 1 else '',
        args.dtype if args.dtype != 'float32' else '',
        'cuda' if device == 'cuda' else '',
        f'threads: {args.threads}' if args.threads else '',
    ]
    return ', '.join(['attention', Path(args.config).stem, *filter(None, notes)])


if __name__ == '__main__':
    run_tool(main)
