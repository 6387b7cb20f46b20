#!/usr/bin/env python
"""Serves a web page on which visitors upload or record a clip and see the predictions of a trained model."""

import argparse
import logging

from mmav.checkpoints import require_checkpoint
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.listening import bind
from mmav.web.demo import Limits, PageInferencer, WebDemo
from mmav.web.live import LiveDesk
from mmav.web.page import DEFAULT_TITLE, answer_html, build_page, copy_examples, import_gradio
from mmav.web.server import make_app, serve, upload_folder

EXAMPLE = """examples:
  python demo/web_demo.py configs/mmt/mmt_tiny_avsynth.py work_dirs/demo/epoch_10.pth
  python demo/web_demo.py CONFIG CHECKPOINT --port 8000 --max-seconds 30 --examples clips/ --title 'Sounds of a farm'"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='checkpoint file (.pth or .safetensors)')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; default: 127.0.0.1, this machine')
    parser.add_argument('--port', type=int, default=7860, help='port to listen on, 0 for a free one; default: 7860')
    parser.add_argument('--max-seconds', type=float, default=60, metavar='S', help='longest clip accepted; default: 60')
    parser.add_argument(
        '--max-megabytes', type=float, default=100, metavar='MB', help='largest file accepted; default: 100'
    )
    parser.add_argument(
        '--max-request-seconds', type=float, default=120, metavar='S', help='time limit of one prediction; default: 120'
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    parser.add_argument('--classes', help='class list, one name a line; default: that of the checkpoint')
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on a clip has one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    parser.add_argument('--title', default=DEFAULT_TITLE, help='heading of the page')
    parser.add_argument('--examples', metavar='FOLDER', help='folder of clips for visitors to choose from (8 at most)')
    parser.add_argument(
        '--max-streams', type=int, default=4, metavar='N', help='cameras answered at a time, 0 for none; default: 4'
    )
    args = parser.parse_args()
    for name in ('max_seconds', 'max_megabytes', 'max_request_seconds'):
        if not getattr(args, name) > 0:
            raise ConfigError(f'--{name.replace("_", "-")} {getattr(args, name):g} must be above 0')
    if args.max_streams < 0:
        raise ConfigError(f'--max-streams {args.max_streams} must be 0 or more')
    if not 0 <= args.port < 65536:
        raise ConfigError(f'--port {args.port} must be 0 to 65535')
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    require_checkpoint(args.checkpoint)
    with upload_folder() as folder, bind(args.host, args.port) as listener:
        examples = copy_examples(args.examples, folder) if args.examples else []
        import_gradio()
        limits = Limits(args.max_seconds, args.max_megabytes, args.max_request_seconds)
        inferencer = PageInferencer(
            args.config, args.checkpoint, device=args.device, classes=args.classes, thresholds=args.thresholds
        )
        demo = WebDemo(inferencer, limits)
        live = LiveDesk(demo, answer_html, streams=args.max_streams) if args.max_streams else None
        page = build_page(demo, title=args.title, examples=examples, live=live)
        serve(make_app(page, folder, limits=limits, live=live), listener)


if __name__ == '__main__':
    run_tool(main)
