#!/usr/bin/env python
"""Measures how fast one worker gets clips from tar shards, beside single files: from this machine's disk, and from a
simulated store that takes milliseconds to open a file and for each read. Once the bytes alone, and once through a
config's pipeline.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from mmengine.config import DictAction

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.clips import DESCRIPTION, write_sample_clip
from benchmarks.machine import machine
from benchmarks.shards import as_text, measure
from benchmarks.slow_store import Delays
from mmav.config.reading import key_value, load_checked_config
from mmav.datasets.media.transcode import TranscodeOptions, transcode
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MediaError
from mmav.outputs import check_output, write_json

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_shards.py configs/mmt/mmt_k4_l4_vggsound.py
  python tools/analysis_tools/benchmark_shards.py configs/ast/ast_base_audioset.py --clip sound.flac --clips 200
  python tools/analysis_tools/benchmark_shards.py configs/mmt/mmt_k4_l4_vggsound.py --open-ms 20 --read-ms 4"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file, whose train_dataloader has the pipeline')
    parser.add_argument('--clip', type=Path, metavar='FILE', help='the clip that is copied; default: one made for it')
    parser.add_argument('--clips', type=int, default=64, metavar='N', help='copies of it; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='times that each is read; default: 5')
    parser.add_argument('--batch-size', type=int, default=16, metavar='N', help='clips of a batch; default: 16')
    parser.add_argument('--open-ms', type=float, default=5.0, metavar='MS', help='of the slow store; default: 5')
    parser.add_argument('--read-ms', type=float, default=1.0, metavar='MS', help='of the slow store; default: 1')
    parser.add_argument('--json', metavar='FILE', help='write the numbers, the versions and the processor to this file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V',
        help='change single entries of the config',
    )  # fmt: skip
    args = parser.parse_args()
    if min(args.clips, args.rounds, args.batch_size) < 1 or min(args.open_ms, args.read_ms) < 0:
        raise ConfigError('--clips, --rounds and --batch-size must be at least 1, --open-ms and --read-ms not negative')
    if args.clip and not args.clip.is_file():
        raise MediaError(str(args.clip), 'no such file')
    if args.json:
        check_output(args.json, inputs=[args.config, args.clip or ''], suffixes=['.json'])
    cfg = load_checked_config(args.config, args.cfg_options)
    loader = cfg.get('train_dataloader')
    if loader is None or 'pipeline' not in (loader.get('dataset') or {}):
        raise ConfigError(f"'{args.config}' has no train_dataloader with a pipeline")
    Delays.opening, Delays.reading = args.open_ms / 1e3, args.read_ms / 1e3
    with tempfile.TemporaryDirectory() as folder:
        clip, what = args.clip, str(args.clip)
        if clip is None:
            clip, what = Path(folder) / 'clip.mp4', f'{DESCRIPTION}, prepared as by `mmav prepare`'
            transcode(str(write_sample_clip(Path(folder) / 'source.mp4')), str(clip), TranscodeOptions())
        print(f'{args.config}: {what}')
        result = measure(
            loader, Path(folder) / 'data', clip, clips=args.clips, rounds=args.rounds, batch_size=args.batch_size
        )
        print(as_text(result))
    if args.json:
        write_json(args.json, dict(config=args.config, source=what, **machine(), **result))


if __name__ == '__main__':
    run_tool(main)
