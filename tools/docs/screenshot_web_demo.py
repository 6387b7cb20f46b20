#!/usr/bin/env python
"""Draws the docs' web_demo.png: starts demo/web_demo.py's page, classifies a clip in a browser, saves what is seen."""

import argparse

from mmav.checkpoints import require_checkpoint
from mmav.engine.cli import run_tool
from mmav.listening import bind
from mmav.outputs import check_output
from mmav.web.browser import take_screenshot
from mmav.web.demo import PageInferencer, WebDemo
from mmav.web.live import LiveDesk
from mmav.web.page import DEFAULT_TITLE, answer_html, build_page
from mmav.web.server import make_app, serving, upload_folder

EXAMPLE = """example:
  python tools/docs/screenshot_web_demo.py data/avsynth/clips/test/00003.mp4 \\
      --config configs/mmt/mmt_tiny_avsynth.py --checkpoint work_dirs/demo/epoch_10.pth --out web_demo.png"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('clip', help='the clip that is classified')
    parser.add_argument('--config', default='configs/mmt/mmt_tiny_avsynth.py', help='config file of the model')
    parser.add_argument('--checkpoint', default='work_dirs/demo/epoch_10.pth', help='checkpoint file')
    parser.add_argument('--out', default='work_dirs/web_demo.png', help='the picture; default: %(default)s')
    args = parser.parse_args()
    require_checkpoint(args.checkpoint)
    check_output(args.out, inputs=[args.clip, args.config, args.checkpoint], suffixes=['.png'])
    with upload_folder() as folder, bind('127.0.0.1', 0) as listener:
        demo = WebDemo(PageInferencer(args.config, args.checkpoint))
        live = LiveDesk(demo, answer_html)
        app = make_app(build_page(demo, title=DEFAULT_TITLE, live=live), folder, limits=demo.limits, live=live)
        with serving(app, listener) as url:
            take_screenshot(url, args.clip, args.out)
    print(args.out)


if __name__ == '__main__':
    run_tool(main)
