#!/usr/bin/env python
"""Plans the memory of a training step on a GPU, which need not be there: counted on tensors without numbers.

Tells what weights, gradients, optimizer, activations and workspace take, whether a GPU's memory suffices, and otherwise
which blocks to compute again in the backward pass, at the cost of as few operations as possible. Sizes are in GiB,
2**30 bytes, as in nvidia-smi; a card sold as 40 GB has 39.5 to 40 of them. Exit status 0 if the step fits, 1 if
nothing makes it fit.
"""

import argparse
import math
import sys
from pathlib import Path

from mmengine.config import DictAction
from tqdm import tqdm

from mmav.analysis.memory_report import as_data, cards_table, text_report, verdict
from mmav.analysis.pages import fill_block, find_block
from mmav.config.amp import AMP
from mmav.config.edits import resolve_num_classes, set_amp
from mmav.config.reading import key_value, load_checked_config
from mmav.engine.cli import run_tool
from mmav.engine.memory.plan import GIB, plan_step
from mmav.errors import ConfigError, MmavError
from mmav.outputs import check_output, write_json
from mmav.visualization.figures import check_picture_name
from mmav.visualization.memory_plot import draw_plan

TOOL = 'tools/analysis_tools/plan_memory.py'
EXAMPLE = """examples:
  python tools/analysis_tools/plan_memory.py configs/mmt/mmt_k4_l4_vggsound.py --gpus 8
  python tools/analysis_tools/plan_memory.py configs/mmt/mmt_k4_l4_vggsound.py --gpu-memory 16 --picture plan.png
  python tools/analysis_tools/plan_memory.py configs/mat/mat_base_vggsound.py --batch-size 64 --json plan.json
  python tools/analysis_tools/plan_memory.py configs/mmt/mmt_k4_l4_vggsound.py --gpu-memory 16 24 --page FILE.md"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--gpu-memory', nargs='+', type=float, default=[40], metavar='GIB', help='of each GPU, in GiB; default: 40'
    )
    parser.add_argument('--gpus', type=int, default=1, metavar='N', help='processes, one a GPU; default: 1')
    parser.add_argument('--batch-size', type=int, metavar='N', help="clips on each GPU; default: the config's")
    parser.add_argument('--amp', choices=AMP, help="numbers of the forward pass; default: the config's")
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V',
        help="change single entries of the config, e.g. activation_checkpointing=True for what that takes",
    )  # fmt: skip
    parser.add_argument('--json', metavar='FILE', help='write the plan to this file, sizes in bytes')
    parser.add_argument('--picture', metavar='FILE.png', help='draw what the blocks keep')
    parser.add_argument('--page', metavar='FILE.md', help='put a table of all plans into the block of this page')
    args = parser.parse_args()
    check(args)
    plans = {}
    cases = [(path, memory) for path in args.configs for memory in args.gpu_memory]
    for path, memory in tqdm(cases, desc='plans', disable=len(cases) == 1):
        cfg = load_checked_config(path, args.cfg_options)
        if args.amp:
            set_amp(cfg, args.amp, options=args.cfg_options)
        try:
            resolve_num_classes(cfg)
        except MmavError:
            resolve_num_classes(cfg, classes=('a', 'b'))  # the data are not there; the classes take next to nothing
        plan = plan_step(cfg, batch_size=args.batch_size, gpu_memory=round(memory * GIB), gpus=args.gpus, compare=True)
        plans[path, memory] = plan
        what = f'{Path(path).stem}, {plan.batch_size} clips on each of {args.gpus} GPUs of {memory:g} GiB, {plan.dtype}'
        tqdm.write(f'{what}\n\n{text_report(plan)}\n\n{verdict(plan)}\n')
        if args.picture:
            draw_plan(plan, what, args.picture)
    if args.json:
        write_json(args.json, {f'{path}, {memory:g} GiB': as_data(plan) for (path, memory), plan in plans.items()})
    if args.page:
        named = {
            f'{Path(path).stem}, {plans[path, args.gpu_memory[0]].batch_size} clips': [
                plans[path, memory] for memory in args.gpu_memory
            ]
            for path in args.configs
        }
        fill_block(args.page, 'memory plans', TOOL, cards_table(named))
    sys.exit(0 if all(plan.fits for plan in plans.values()) else 1)


def check(args: argparse.Namespace) -> None:
    """Fails early on what cannot be."""
    for name, value in (('--gpus', args.gpus), ('--batch-size', args.batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f'{name} {value}: give 1 or more')
    for memory in args.gpu_memory:
        if not 1 < memory < math.inf:
            raise ConfigError(f'--gpu-memory {memory:g}: give GiB, more than the 1 that CUDA itself is taken to need')
    if args.picture is not None:
        if len(args.configs) * len(args.gpu_memory) > 1:
            raise ConfigError('--picture shows one plan: give one config and one --gpu-memory')
        check_picture_name(args.picture)
        check_output(args.picture, inputs=args.configs)
    if args.json is not None:
        check_output(args.json, inputs=args.configs, suffixes=['.json'])
    if args.page:
        find_block(args.page, 'memory plans', TOOL)


if __name__ == '__main__':
    run_tool(main)
