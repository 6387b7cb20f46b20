#!/usr/bin/env python
"""Classifies a live source, window by window: a camera, a microphone, a network stream, a pipe, or a file.

Ctrl-C ends it, with a summary.
"""

import argparse
import json
import os
from contextlib import ExitStack
from typing import TextIO

from mmav.apis import AVInferencer
from mmav.datasets.media.live import list_live
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, OutputError
from mmav.files import is_stream
from mmav.inference.live_report import LiveSummary, line_of
from mmav.outputs import adopt, check_output
from mmav.structures import MODALITIES

EXAMPLE = """examples:
  python demo/av_live.py camera:0 microphone:default --config CONFIG --checkpoint CHECKPOINT --stride 1
  python demo/av_live.py rtsp://camera.local/1 --config CONFIG --checkpoint CHECKPOINT --json-lines answers.jsonl
  ffmpeg ... -f mpegts - | python demo/av_live.py - --config CONFIG --checkpoint CHECKPOINT
  python demo/av_live.py test:20 --config configs/mmt/mmt_tiny_avsynth.py --checkpoint work_dirs/demo/epoch_10.pth"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'source',
        nargs='+',
        metavar='SOURCE',
        help="camera:0, microphone:default, or both; an address (rtsp, rtmp, http, ...); '-' for standard input; a "
        'named pipe or a file; test: for a test pattern',
    )
    parser.add_argument('--config', required=True, help='config file of the model')
    parser.add_argument('--checkpoint', required=True, help='checkpoint file (.pth or .safetensors)')
    parser.add_argument('--window', type=float, metavar='S', help="seconds of a window; default: the config's")
    parser.add_argument('--stride', type=float, metavar='S', help='seconds between windows; default: the window')
    parser.add_argument('--topk', type=int, default=5, metavar='K', help='labels in --json-lines; default: 5')
    parser.add_argument('--json-lines', metavar='FILE', help='write a line of JSON for each window')
    parser.add_argument(
        '--every-window', action='store_true', help='let the source wait for the model (files, pipes), skip no window'
    )
    parser.add_argument('--drop', choices=MODALITIES, help='withhold this modality from the model')
    parser.add_argument('--seconds', type=float, metavar='S', help='end after so many seconds of the stream')
    parser.add_argument(
        '--timeout', type=float, default=10, metavar='S', help='seconds without anything that end it; default: 10'
    )
    parser.add_argument(
        '--retries',
        type=int,
        default=5,
        metavar='N',
        help='how often a broken network stream is opened again; default: 5',
    )
    parser.add_argument('--reopen', action='store_true', help='open a network stream again that ends, too')
    parser.add_argument('--classes', help='class list, one name a line; default: that of the checkpoint')
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on there is one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    args = parser.parse_args()
    for name in ('topk', 'window', 'stride', 'timeout', 'seconds'):
        value = getattr(args, name)
        if value is not None and not value > 0:
            raise ConfigError(f'--{name} {value:g} must be above 0')
    sources = list_live(args.source)
    if args.json_lines:
        inputs = [args.config, args.checkpoint, *(each.url for each in sources if each.kind == 'file')]
        check_output(args.json_lines, inputs=inputs)
    inferencer = AVInferencer(
        args.config, args.checkpoint, device=args.device, classes=args.classes, thresholds=args.thresholds
    )
    windows = inferencer.stream(
        args.source,
        window=args.window,
        stride=args.stride,
        topk=args.topk,
        drop=[args.drop] if args.drop else [],
        skip=not args.every_window,
        timeout=args.timeout,
        retries=args.retries,
        reopen=args.reopen,
    )
    summary = LiveSummary()
    with ExitStack() as stack:
        file = None
        if args.json_lines:
            file = stack.enter_context(_opened(args.json_lines))
            if not is_stream(args.json_lines):
                stack.callback(lambda: (file.flush(), adopt(args.json_lines)))
        stack.callback(windows.close)
        try:
            for result in windows:
                summary.add(result)
                print(line_of(result), flush=True)
                if file is not None:
                    print(json.dumps(result), file=file, flush=True)
                if args.seconds is not None and result['end'] >= args.seconds:
                    break
        except KeyboardInterrupt:
            print()
        finally:
            if summary.windows:
                print(summary.text(), flush=True)


def _opened(path: str) -> TextIO:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        return open(path, 'w', encoding='utf-8')
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}; give another name") from error


if __name__ == '__main__':
    run_tool(main)
