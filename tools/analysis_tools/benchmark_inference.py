#!/usr/bin/env python
"""Measures on the CPU how long a model takes for a clip: the model by PyTorch and by onnxruntime, and the whole way
from a file to its labels. The ways are timed in turn; medians and quartiles.
"""

import argparse
import sys
import tempfile
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.clips import DESCRIPTION, write_sample_clip
from benchmarks.latency import BACKENDS, latency_rows, measure_latency
from benchmarks.machine import check_counts, machine
from mmav.analysis.pages import fill_block, find_block
from mmav.apis import AVInferencer
from mmav.checkpoints import require_checkpoint
from mmav.deployment.onnx_export import require
from mmav.engine.cli import run_tool
from mmav.errors import MediaError
from mmav.outputs import check_output, write_json
from mmav.tables import markdown_table, text_table

TOOL = 'tools/analysis_tools/benchmark_inference.py'
EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_inference.py configs/mmt/mmt_tiny_avsynth.py work_dirs/demo/epoch_10.pth
  python tools/analysis_tools/benchmark_inference.py configs/mmt/mmt_k4_l4_vggsound.py --threads 1 --rounds 5
  python tools/analysis_tools/benchmark_inference.py CONFIG --backends torch --batch-size 1 8 --file own.mp4"""


def main() -> None:
    import torch  # after mmav, which says how its threads wait

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file; random weights without, which take as long')
    parser.add_argument('--backends', nargs='+', choices=BACKENDS, default=BACKENDS, help='default: both')
    parser.add_argument('--batch-size', nargs='+', type=int, default=[1], metavar='N', help='clips at once; default: 1')
    parser.add_argument('--threads', type=int, metavar='N', help='threads of either; default: one per core')
    parser.add_argument('--rounds', type=int, default=10, metavar='N', help='how often each is timed; default: 10')
    parser.add_argument('--file', help='media file that is read; default: a generated one')
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the processor to this file')
    parser.add_argument('--page', metavar='FILE.md', help='write the table into the block of this config of a page')
    args = parser.parse_args()
    check_counts(args, 'threads', 'rounds', 'batch_size')
    if args.file and not Path(args.file).is_file():
        raise MediaError(args.file, 'no such file')
    name = Path(args.config).stem + (f', threads: {args.threads}' if args.threads else '')
    if args.json:
        check_output(args.json, inputs=[args.config, args.checkpoint or '', args.file or ''], suffixes=['.json'])
    if args.page:
        find_block(args.page, name, TOOL)
    if 'onnxruntime' in args.backends:
        require('onnx', 'onnxruntime')
    if args.checkpoint:
        require_checkpoint(args.checkpoint)
    if args.threads:
        torch.set_num_threads(args.threads)
    inferencer = AVInferencer(args.config, args.checkpoint, device='cpu', show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        path = args.file or str(write_sample_clip(Path(folder) / 'clip.mp4'))
        results = measure_latency(
            inferencer, path, backends=args.backends, batch_sizes=args.batch_size, rounds=args.rounds, progress=True
        )
    about = dict(
        config=args.config,
        weights=args.checkpoint or 'random',
        file=args.file or DESCRIPTION,
        threads=torch.get_num_threads(),
        rounds=args.rounds,
        **machine(),
    )
    rows = latency_rows(results)
    print(f'{args.config}, {about["threads"]} threads, median of {args.rounds}\n{text_table(rows, left=2)}')
    if args.page:
        fill_block(args.page, name, TOOL, markdown_table(rows))
    if args.json:
        write_json(args.json, dict(about, results=results))


if __name__ == '__main__':
    run_tool(main)
