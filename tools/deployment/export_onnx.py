#!/usr/bin/env python
"""Exports a trained model to ONNX, with normalisation and class names inside, and writes a description of its inputs
beside it (MODEL.json). The exported model is run in onnxruntime and compared with PyTorch.
"""

import argparse
from pathlib import Path

from mmav.apis import AVInferencer
from mmav.checkpoints import require_checkpoint
from mmav.deployment.onnx_export import DEFAULT_OPSET, export_onnx, require
from mmav.engine.cli import run_tool
from mmav.outputs import check_output

EXAMPLE = """examples:
  python tools/deployment/export_onnx.py configs/mmt/mmt_tiny_avsynth.py work_dirs/demo/epoch_10.pth --out mmt.onnx
  python tools/deployment/export_onnx.py CONFIG CHECKPOINT --out video_only.onnx --drop audio"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file (.pth)')
    parser.add_argument('--out', required=True, metavar='FILE.onnx', help='where to write the model')
    parser.add_argument('--opset', type=int, default=DEFAULT_OPSET, help='default: %(default)s')
    parser.add_argument(
        '--drop', nargs='+', default=[], metavar='MODALITY',
        help='video or audio: export without its input and its encoder',
    )  # fmt: skip
    parser.add_argument('--classes', metavar='FILE', help="names of the classes, one a line, if not the checkpoint's")
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on a clip has one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--no-check', action='store_true', help='do not compare with PyTorch (no onnxruntime needed)')
    args = parser.parse_args()
    require('onnx', *([] if args.no_check else ['onnxruntime']))
    require_checkpoint(args.checkpoint)
    given = [args.config, args.checkpoint, *([args.classes] if args.classes else [])]
    check_output(args.out, inputs=given, suffixes=['.onnx'])
    check_output(Path(args.out).with_suffix('.json'), inputs=given)
    inferencer = AVInferencer(
        args.config,
        args.checkpoint,
        device='cpu',
        classes=args.classes,
        data_root=args.data_root,
        thresholds=args.thresholds,
        show_progress=False,
    )
    notes = dict(config=args.config, checkpoint=Path(args.checkpoint).name)
    made = export_onnx(inferencer, args.out, drop=args.drop, opset=args.opset, check=not args.no_check, notes=notes)
    for kind in ('inputs', 'outputs'):
        for value in made[kind]:
            print(f'{kind[:-1]:<7}{value["name"]:<14}{value["dtype"]:<8} {tuple(value["shape"])}')
    if 'check' in made:
        print(f'largest difference from PyTorch: {made["check"]["max_abs_difference"]:.1e}')
    print(
        f'written: {args.out} ({Path(args.out).stat().st_size / 2**20:.1f} MiB), {Path(args.out).with_suffix(".json")}'
    )


if __name__ == '__main__':
    run_tool(main)
