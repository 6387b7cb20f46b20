#!/usr/bin/env python
"""Checks and measures on one GPU what only a GPU can tell, in at most 8 minutes; the same in miniature on a CPU.

Each section runs in a process of its own and has a limit of time: whatever happens to it, the results of the others
stay. After each of them the files in the folder of --out are written anew: gpu.json has all figures, gpu.md the tables,
gpu.log what was printed. Sections that do not fit into --budget are left out. The exit status is 1 where a part failed
or came to no end, or a verdict is "fail".

sections, most important first:
  machine    the GPU, PyTorch, the kernels of attention that run, the speed of a large product of matrices
  tests      the tests that are marked gpu
  training   iterations of configs/mmt/mmt_k4_l4_vggsound.py through tools/train.py, on clips that are made for it
  encoders   MViTv2-S and -B beside torchvision's and beside explicit attention: time and peak memory
  memory     MAT's training with 64 clips and AST's with 8: peak memory and time
  attention  the forms of attention at the sizes of the flagship's blocks
  forms      training steps of MViTv2-B and MAT with the Triton kernel and with folded attention
  hand_over  a step whose batch is copied one step ahead or when it begins; erasing and log-mels on the GPU

Where there is no GPU, or with --miniature, everything runs on the CPU with tiny models; the figures mean nothing then.
"""

import argparse
import sys
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gpu.processes import DONE, follow_orders
from benchmarks.gpu.report import FAIL, fill_page, find_blocks, judge, verdict_rows
from benchmarks.gpu.run import FILES, SECTIONS, earlier_sections, read_results, run_check
from benchmarks.gpu.scale import full_scale, miniature
from benchmarks.machine import about
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.outputs import check_folder
from mmav.tables import text_table

EXAMPLE = """examples:
  python tools/analysis_tools/check_gpu.py --page docs/performance.md
  python tools/analysis_tools/check_gpu.py --sections training memory --budget 200    # the others' results are kept
  python tools/analysis_tools/check_gpu.py --from gpu.json --page docs/performance.md   # of a run on another machine
  python tools/analysis_tools/check_gpu.py --miniature"""
BUDGET = 480


def main() -> None:
    import torch  # after mmav, which says how its threads wait

    args = _parse()
    if args.child:
        scale = miniature() if args.miniature else full_scale()
        follow_orders(lambda report: SECTIONS[args.child](report, scale))
        return
    if args.source:
        _write_page(args.page, read_results(Path(args.source)))
        return
    gpu = torch.cuda.is_available()
    tiny = args.miniature or not gpu
    if args.page:
        if tiny:
            why = 'leave --miniature out' if gpu else 'there is no GPU that PyTorch can use'
            raise MmavError(f'--page {args.page}: a miniature has no figures for a page; {why}')
        find_blocks(args.page)
    out = Path(args.out or ('work_dirs/gpu_miniature' if tiny else 'work_dirs/gpu'))
    check_folder(out, FILES)
    content = dict(scale='miniature' if tiny else 'full', about=about({}, 'cpu' if tiny else 'cuda'))
    content['sections'] = earlier_sections(out, content) if args.sections else {}
    print(f'{content["about"]["where"]}, torch {torch.__version__}; results in {out}')
    if tiny:
        why = '' if gpu else 'no GPU that PyTorch can use: '
        print(f'{why}everything in miniature on the CPU, and the figures mean nothing')
    command = [sys.executable, __file__, *(['--miniature'] if tiny else []), '--child']
    run_check(args.sections or list(SECTIONS), content, out, budget=args.budget, command=command)
    verdicts = judge(content['sections'], real=not tiny)
    print(f'\n{text_table(verdict_rows(verdicts), left=3)}\n')
    undone = {name: s['status'] for name, s in content['sections'].items() if s['status'] != DONE}
    for name, status in undone.items():
        print(f'{name}: {status}')
    if args.page:
        _write_page(args.page, content)
    if undone or any(verdict.verdict == FAIL for verdict in verdicts):
        sys.exit(1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sections', nargs='+', choices=SECTIONS, help='default: all')
    parser.add_argument('--budget', type=float, default=BUDGET, metavar='S', help=f'seconds for all; default: {BUDGET}')
    parser.add_argument('--out', metavar='DIR', help='folder of the results; default: work_dirs/gpu')
    parser.add_argument('--page', metavar='FILE.md', help='write the tables into their blocks of a page')
    parser.add_argument('--miniature', action='store_true', help='tiny models on the CPU, also where there is a GPU')
    parser.add_argument(
        '--from', dest='source', metavar='FILE.json', help='run nothing, write the page from these results'
    )
    parser.add_argument('--child', choices=SECTIONS, help=argparse.SUPPRESS)  # how this tool starts a section
    args = parser.parse_args()
    if not args.budget > 0:
        raise ConfigError(f'--budget {args.budget:g}: give more than 0 seconds')
    if args.source:
        if not args.page:
            raise ConfigError(f'--from {args.source} writes a page: say which one with --page')
        for name, default in dict(sections=None, budget=BUDGET, out=None, miniature=False).items():
            if getattr(args, name) != default:
                raise ConfigError(f'--{name} has no effect with --from, which runs nothing: leave one of them out')
    return args


def _write_page(page: str, content: dict) -> None:
    print(f'{page}: {", ".join(fill_page(page, content))}')


if __name__ == '__main__':
    run_tool(main)
