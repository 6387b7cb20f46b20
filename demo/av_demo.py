#!/usr/bin/env python
"""Classifies your own files: prints the predictions, and writes them as JSON and onto a copy of each video."""

import argparse
from pathlib import Path

from mmav.apis import AVInferencer
from mmav.datasets.media import files_of
from mmav.engine.cli import run_tool
from mmav.engine.console import console_has
from mmav.errors import ConfigError, MmavError
from mmav.inference.annotate import plan_copies
from mmav.inference.report import report_of
from mmav.inference.results import MERGES
from mmav.inference.sources import list_sources
from mmav.outputs import check_folder, write_json
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python demo/av_demo.py clip.mp4 --config configs/mmt/mmt_tiny_avsynth.py --checkpoint work_dirs/demo/epoch_10.pth
  python demo/av_demo.py clips/ audio.wav --config CONFIG --checkpoint CHECKPOINT --out-dir results --batch-size 16
  python demo/av_demo.py frames/7 --fps 25 --audio 7.wav --config CONFIG --checkpoint CHECKPOINT
  python demo/av_demo.py hour.mp4 --config CONFIG --checkpoint CHECKPOINT --stride 2 --no-video --drop audio"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('files', nargs='+', metavar='FILE', help='video or audio files, or folders of them')
    parser.add_argument('--audio', metavar='FILE', help='audio of the one FILE, which may also be a folder of frames')
    parser.add_argument('--fps', type=float, help='frames per second of a folder of frames, unless its fps.txt says so')
    parser.add_argument('--config', required=True, help='config file of the model')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file (.pth or .safetensors)')
    parser.add_argument(
        '--out-dir', default='work_dirs/av_demo', help='folder for predictions.json and the annotated videos'
    )
    parser.add_argument('--no-video', action='store_true', help='write no annotated videos')
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='number of labels to print; default: 5')
    parser.add_argument('--window', type=float, metavar='S', help="seconds of a window; default: the config's")
    parser.add_argument('--stride', type=float, metavar='S', help='seconds between windows; default: the window')
    parser.add_argument(
        '--max-windows', type=int, default=10_000, metavar='N', help='refuse files of more windows; default: 10000'
    )
    parser.add_argument('--drop', choices=MODALITIES, help='withhold this modality from the model')
    parser.add_argument('--classes', help='class list, one name a line; default: that of the checkpoint')
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on a clip has one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    parser.add_argument(
        '--merge',
        choices=MERGES,
        default='mean',
        help='what the windows of a clip say together; max for several labels; default: mean',
    )
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='windows in a batch; default: 8')
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    args = parser.parse_args()
    for name in ('topk', 'batch_size', 'window', 'stride', 'max_windows', 'fps'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ConfigError(f'--{name.replace("_", "-")} {value:g} must be above 0')
    inputs = args.files
    if args.audio or args.fps:
        if len(args.files) > 1:
            raise ConfigError(
                f'--audio and --fps belong to one FILE, not to {len(args.files)}: give them one at a time'
            )
        inputs = dict(video=args.files[0], audio=args.audio or '', fps=args.fps)
    sources = list_sources(inputs)
    given = [args.config, args.checkpoint, *(file for source in sources for file in files_of(source.path))]
    check_folder(args.out_dir, ['predictions.json'], inputs=given, remedy='give another one with --out-dir')
    if not args.no_video:
        plan_copies(sources, args.out_dir)
    inferencer = AVInferencer(
        args.config, args.checkpoint, device=args.device, classes=args.classes, thresholds=args.thresholds
    )
    results = inferencer(
        inputs,
        args.batch_size,
        args.topk,
        window=args.window,
        stride=args.stride,
        max_windows=args.max_windows,
        drop=[args.drop] if args.drop else [],
        merge=args.merge,
        errors='report',
    )
    out = Path(args.out_dir, 'predictions.json')
    content = dict(config=args.config, checkpoint=args.checkpoint, results=results)
    # the predictions are shown even if the file cannot be written
    try:
        write_json(out, content)
    finally:
        print(report_of(results, bar='█' if console_has('█') else '#'), flush=True)
    if not args.no_video:
        inferencer.visualize(sources, results, out_dir=args.out_dir)
        write_json(out, content)  # again, as the results name their copies now
    for what, path in [('predictions', out), *(('video', result['video']) for result in results if 'video' in result)]:
        print(f'{what:>11}: {path}')
    wrong = [f'{result["path"]}: {result["error"]}' for result in results if result['error'] is not None]
    if wrong:
        raise MmavError(wrong[0] if len(wrong) == 1 else f'{len(wrong)} of {len(results)} clips: {wrong[0]}, ...')


if __name__ == '__main__':
    run_tool(main)
