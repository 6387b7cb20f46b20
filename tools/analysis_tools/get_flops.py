#!/usr/bin/env python
"""Counts parameters and multiply-accumulates (MACs) of the parts of a model, for one clip of one view.

Matrix products, convolutions and attention are counted. "MACs" writes relative positions out, "folded" lets them ride
in longer queries and keys, as fused GPU kernels need it.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from mmengine.config import Config, DictAction

from mmav.analysis.complexity import count_model, markdown_table, text_table
from mmav.analysis.pages import fill_block, find_block
from mmav.config.edits import AUTO, resolve_num_classes
from mmav.config.reading import key_value, load_checked_config
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, ManifestError
from mmav.outputs import check_output, write_json

EXAMPLE = """examples:
  python tools/analysis_tools/get_flops.py configs/mmt/mmt_k4_l4_vggsound.py --json flops.json
  python tools/analysis_tools/get_flops.py configs/mmt/mmt_tiny_folder.py --num-classes 50 --input-size audio=128,1024
  python tools/analysis_tools/get_flops.py configs/*/*_vggsound.py --markdown docs/complexity.md"""
STAND_IN = 100
TOOL = 'tools/analysis_tools/get_flops.py'


def settle_num_classes(cfg: Config, num_classes: int | None) -> None:
    """Puts a number where the config says 'auto': the one asked for, that of the class list, or a stand-in."""
    if cfg.get('num_classes') != AUTO:
        return
    if num_classes is None:
        try:
            return resolve_num_classes(cfg)
        except ManifestError:
            num_classes = STAND_IN
            print(
                f'no class list is there yet: the head is counted with {STAND_IN} classes; --num-classes N changes it'
            )
    cfg.merge_from_dict(dict(num_classes=num_classes, model=dict(head=dict(num_classes=num_classes))))


def size(value: object) -> tuple[int, ...]:
    axes = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(axis, int) and axis > 0 for axis in axes):
        raise ConfigError(f'--input-size {value!r}: give whole numbers above 0, e.g. video=16,224,224 audio=128,1024')
    return axes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument(
        '--input-size', nargs='+', action=DictAction, type=key_value, default={}, metavar='MODALITY=SIZE',
        help='size of the input in place of the one of the config: video=T,H,W audio=F,T',
    )  # fmt: skip
    parser.add_argument('--num-classes', type=int, metavar='N', help="for configs with num_classes='auto'")
    parser.add_argument('--json', metavar='FILE', help='write the numbers to this file')
    parser.add_argument('--markdown', metavar='FILE', help='put a table of all configs into the block of this page')
    args = parser.parse_args()
    if args.json:
        check_output(args.json, inputs=args.configs, suffixes=['.json'])
    if args.markdown:
        find_block(args.markdown, 'complexity', TOOL)
    sizes = {name: size(value) for name, value in args.input_size.items()}
    counted = {}
    for path in args.configs:
        cfg = load_checked_config(path)
        settle_num_classes(cfg, args.num_classes)
        counted[path] = count_model(cfg.model, sizes)
        print(f'{path}\n{text_table(counted[path])}\n')
    if args.json:
        write_json(args.json, {path: [asdict(cost) for cost in costs] for path, costs in counted.items()})
    if args.markdown:
        table = markdown_table({Path(path).stem: costs for path, costs in counted.items()})
        fill_block(args.markdown, 'complexity', TOOL, table)


if __name__ == '__main__':
    run_tool(main)
