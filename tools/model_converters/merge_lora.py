#!/usr/bin/env python
"""Makes the checkpoint of a fine-tuned model plain: LoRA is merged, frozen weights that it leaves out are put back.

The result needs neither LoRA nor the file of public weights; its config is written beside it.
"""

import argparse
from pathlib import Path

from mmav.checkpoints import load_checkpoint_file
from mmav.config.reading import load_checked_config
from mmav.engine.cli import run_tool
from mmav.inference.merging import merged, write_merged
from mmav.outputs import check_output

EXAMPLE = """example:
  python tools/model_converters/merge_lora.py work_dirs/lora/lora.py work_dirs/lora/epoch_10.pth --out plain.pth
  python demo/av_demo.py clip.mp4 --config plain.py --checkpoint plain.pth"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config that the checkpoint was trained with; its work dir has a copy')
    parser.add_argument('checkpoint', help='checkpoint of training')
    parser.add_argument('--out', required=True, help='file to write; the config gets its name, ending in .py')
    args = parser.parse_args()
    out = Path(args.out)
    check_output(out, inputs=[args.checkpoint], suffixes=['.pth', '.pt', '.pyth'])
    check_output(out.with_suffix('.py'), inputs=[args.config])
    cfg, checkpoint, layers = merged(
        load_checked_config(args.config), load_checkpoint_file(args.checkpoint), args.checkpoint
    )
    write_merged(cfg, checkpoint, out)
    print(f'written: {out}, {len(checkpoint["state_dict"])} weights, {layers} layers merged; {out.with_suffix(".py")}')


if __name__ == '__main__':
    run_tool(main)
