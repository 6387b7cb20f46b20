#!/usr/bin/env python
"""Shows what a model looks at (Grad-CAM): frames and spectrogram of clips with its maps over them, those of several
models below each other, also as a video. With --score, measures on AVSynth how well the maps find the events.
"""

import argparse
from pathlib import Path

from mmav.analysis.grad_cam.report import CamModel, list_clips, parse_blocks, show_clips, unique_names
from mmav.analysis.grad_cam.score import score_models
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_folder
from mmav.visualization.grad_cam import METHODS

EXAMPLE = """examples:
  python tools/analysis_tools/grad_cam.py CONFIG CHECKPOINT --clips 4 --out DIR
  python tools/analysis_tools/grad_cam.py CONFIG CHECKPOINT --file own.mp4 --class dog --video --out DIR
  python tools/analysis_tools/grad_cam.py configs/mvitv2/mvitv2_tiny_avsynth.py VIDEO.pth \\
      --compare configs/mmt/mmt_tiny_avsynth.py MMT.pth --indices 7 --out DIR    # Figures 1 and 5 of the paper
  python tools/analysis_tools/grad_cam.py CONFIG CHECKPOINT --block video=0 audio=neck.blocks.1.audio --out DIR
  python tools/analysis_tools/grad_cam.py CONFIG CHECKPOINT --score --every-block --method gradcam centred --out DIR"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for figures, videos and scores')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--clips', type=int, metavar='N', help='N clips of the test set, evenly spread; default: 4')
    which.add_argument('--indices', type=int, nargs='+', metavar='I', help='these clips of the test set, from 0')
    which.add_argument('--file', nargs='+', metavar='FILE', help="your own files; of a long one, the model's window")
    parser.add_argument(
        '--compare', nargs='+', action='extend', default=[], metavar='CONFIG CHECKPOINT',
        help='other models, shown below the first',
    )  # fmt: skip
    parser.add_argument('--class', dest='target', metavar='NAME', help='name or index; default: what a model predicts')
    parser.add_argument(
        '--part', help='part of the label, such as verb, of a model that predicts several; default: the first'
    )
    parser.add_argument(
        '--block', nargs='+', default=[], metavar='MODALITY=BLOCK',
        help="the block to look at: a number in the encoder, as video=-1, or a name, as audio=neck.blocks.1.audio",
    )  # fmt: skip
    parser.add_argument(
        '--method', nargs='+', choices=METHODS, default=['gradcam'], help='default: gradcam; several with --score'
    )
    parser.add_argument(
        '--frames', type=int, default=9, metavar='N', help='frames in a row; default: 9, as in the paper'
    )
    parser.add_argument('--video', action='store_true', help='write the clips with the map over their frames, too')
    parser.add_argument('--score', action='store_true', help='measure on all clips chosen; default: the whole test set')
    parser.add_argument('--every-block', action='store_true', help='with --score: every block instead of one')
    parser.add_argument('--data-root', help='folder of the data, in place of the one in the config')
    parser.add_argument('--device', help="such as 'cpu' or 'cuda:1'; default: a GPU where there is one")
    args = parser.parse_args()
    for name in ('clips', 'frames'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name} {value}: give a number from 1 on')
    if len(args.compare) % 2:
        raise ConfigError('--compare takes pairs: CONFIG CHECKPOINT, one after the other')
    check_folder(args.out, ['scores.json'] if args.score else [])
    if args.every_block and not args.score:
        raise ConfigError('--every-block goes with --score')
    if len(args.method) > 1 and not args.score:
        raise ConfigError(f'--method {" ".join(args.method)}: give one, or --score')
    if args.score and (args.file or args.video or args.target):
        raise ConfigError('--score measures on clips whose events are known: it goes without --file, --video, --class')
    pairs = [(args.config, args.checkpoint), *zip(args.compare[::2], args.compare[1::2], strict=True)]
    blocks = parse_blocks(args.block)
    models = [CamModel(*pair, device=args.device, data_root=args.data_root, part=args.part) for pair in pairs]
    for model, name in zip(models, unique_names([model.name for model in models]), strict=True):
        model.name = name
    clips = list_clips(models[0], args.file, args.indices, args.clips or (None if args.score else 4))
    out = Path(args.out)
    if args.score:
        print(score_models(models, clips, out, blocks=None if args.every_block else blocks, methods=args.method))
        return
    options = dict(target=args.target, frames=args.frames, video=args.video)
    written = show_clips(models, clips, out, blocks=blocks, method=args.method[0], **options)
    print(
        f'{len(written)} files are in {out}: {", ".join(path.name for path in written[:6])}'
        + ' ...' * (len(written) > 6)
    )


if __name__ == '__main__':
    run_tool(main)
