#!/usr/bin/env python
"""Compares mmav's encoders with those of torchvision, timm and transformers: time and memory.

Both have the same weights and get the same input. That they say the same is checked first: outputs in float32,
gradients in float64, where no rounding decides about max pooling. Where they do not, it is said, marked (!) and
written to the JSON file as "disagreements"; all is timed nevertheless, and the exit status is 1. The models are timed
in turn. A ratio is the other's median over ours: above 1, ours is faster; quartiles and extremes are those of the
ratios within the rounds. "differ by" is the largest difference of outputs over the largest output, in a half type
also how far ours / the other's are then from those in float32. The peak is of PyTorch's allocator: weights, input,
what the pass needs, gradients, optimizer's state.

cases:
  video      MViTv2-S on 16x224x224, and torchvision's
  image      MViTv2-B on 224x224, and timm's
  ast        AST on 128x1024, and transformers' with each of its forms of attention
  mat        MAT and our AST on 128x1024, forward and backward pass: the paper's claim
  attention  a training step of MViTv2-B on 16x224x224, and the same with explicit attention
  memory     the paper's training of MAT with 64 clips and of AST with 8
"""

import argparse
import sys
from pathlib import Path

from mmav.engine.precision import DTYPES

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.machine import check_counts, machine
from benchmarks.measure import MODES
from benchmarks.peer_memory import SETTINGS, measure_memory, memory_rows
from benchmarks.peer_timing import compare, timing_rows
from benchmarks.peers import CASES, DoesNotFit, peer_versions, require_peers
from mmav.analysis.pages import fill_block, find_block
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json
from mmav.tables import markdown_table, text_table

TOOL = 'tools/analysis_tools/compare_peers.py'
EXAMPLE = """examples:
  python tools/analysis_tools/compare_peers.py --device cpu --threads 1 --cases video image ast
  python tools/analysis_tools/compare_peers.py --cases attention --batch-size 8       # bfloat16 on a GPU
  python tools/analysis_tools/compare_peers.py --cases memory --memory-batches 64 8 --json memory.json"""
ALL = (*CASES, 'memory')
BATCH = dict(cpu=1, cuda=8)
MEMORY_BATCHES = dict(cpu=(4, 2), cuda=(64, 8))


def main() -> None:
    import torch  # after mmav, which says how its threads wait

    args = _parse()
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: PyTorch sees no GPU here; give --device cpu')
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    cases = args.cases or ALL
    require_peers(cases)
    block = _block(args, device)
    if args.json:
        check_output(args.json, suffixes=['.json'])
    if args.page:
        find_block(args.page, block, TOOL)
    if args.threads:
        torch.set_num_threads(args.threads)
    about = dict(
        device=torch.cuda.get_device_name() if device == 'cuda' else 'CPU',
        threads=torch.get_num_threads(),
        rounds=args.rounds,
        peers=peer_versions(),
        **machine(),
    )
    versions = {'torch': torch.__version__, **peer_versions()}
    print(f'{about["device"]}, {about["cpu"]}, {about["threads"]} threads, median of {args.rounds} rounds')
    print(', '.join(f'{name} {version}' for name, version in versions.items()))
    results: list[dict] = []
    memory: list[dict] = []
    try:
        for name in cases:
            _measure_if_it_fits(name, args, device, results, memory)
    finally:  # what was measured is not lost to a case that fails
        tables = [timing_rows(results)] if results else []
        tables += [memory_rows(memory)] if memory else []
        for rows in tables:
            print(text_table(rows, left=1))
    if args.page:
        fill_block(args.page, block, TOOL, '\n\n'.join(markdown_table(rows) for rows in tables))
    if args.json:
        write_json(args.json, dict(about, results=results, memory=memory))
    if any(result['disagreements'] for result in results):
        sys.exit(1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--cases', nargs='+', choices=ALL, help='default: all, on a GPU those that fit into it')
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=MODES,
        help='forward pass in inference mode; forward and backward pass; both and a step of fused AdamW. Default: the '
        'first two, for mat the second, for attention the third',
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: the GPU, if there is one')
    parser.add_argument('--threads', type=int, metavar='N', help='threads on a CPU; default: one per core')
    parser.add_argument('--dtype', choices=list(DTYPES), help='default: float32; bfloat16 for attention on a GPU')
    parser.add_argument('--batch-size', type=int, metavar='N', help='inputs at once; default: 1 on a CPU, 8 on a GPU')
    parser.add_argument('--rounds', type=int, default=7, metavar='N', help='how often each model is timed; default: 7')
    parser.add_argument(
        '--memory-batches',
        nargs=2,
        type=int,
        metavar=('MAT', 'AST'),
        help='clips of the case memory; default: 4 2 on a CPU, 64 8 on a GPU',
    )
    parser.add_argument('--json', metavar='FILE', help='write all numbers, the versions and the machine to this file')
    parser.add_argument('--page', metavar='FILE.md', help='write the tables into the block of these options of a page')
    args = parser.parse_args()
    check_counts(args, 'threads', 'batch_size', 'rounds', 'memory_batches')
    return args


def _measure_if_it_fits(
    name: str, args: argparse.Namespace, device: str, results: list[dict], memory: list[dict]
) -> None:
    try:
        _measure(name, args, device, results, memory)
    except DoesNotFit as error:
        if args.cases:
            raise
        print(f'left out: {error}', file=sys.stderr)


def _measure(name: str, args: argparse.Namespace, device: str, results: list[dict], memory: list[dict]) -> None:
    dtype = args.dtype or ('bfloat16' if name == 'attention' and device == 'cuda' else 'float32')
    options = dict(device=device, dtype=DTYPES[dtype], progress=True)
    if name == 'memory':
        batches = dict(zip(('MAT', 'AST'), args.memory_batches or MEMORY_BATCHES[device], strict=True))
        memory += measure_memory(batches, settings=SETTINGS, **options)
        return
    case, batch_size = CASES[name](), args.batch_size or BATCH[device]
    print(f'{name}: {case.what}, {dtype}, batch size {batch_size}', file=sys.stderr)
    found = dict(case=name, what=case.what, dtype=dtype, batch_size=batch_size)
    timed = compare(case, modes=args.modes or (), batch_size=batch_size, rounds=args.rounds, **options)
    results += [found | result for result in timed]
    for line in dict.fromkeys(line for result in timed for line in result['disagreements']):
        print(f'difference: {line}', file=sys.stderr)


def _block(args: argparse.Namespace, device: str) -> str:
    """The name of a page's block: what was asked for, so that one page can hold several runs."""
    names = ('cases', 'modes', 'threads', 'dtype', 'batch_size', 'memory_batches')
    given = {name: getattr(args, name) for name in names if getattr(args, name)}
    texts = {name: ' '.join(map(str, v)) if isinstance(v, list) else str(v) for name, v in given.items()}
    return ', '.join(['peers', device, *(f'{name.replace("_", " ")}: {text}' for name, text in texts.items())])


if __name__ == '__main__':
    run_tool(main)
