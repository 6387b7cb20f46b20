#!/usr/bin/env python
"""Transcodes the clips of a dataset so that training reads them fast.

Small frames (the short side is scaled), a keyframe every few frames, H.264 without what is slow to decode, and mono
audio at 16 kHz in the same file. The new folder is a dataset of its own, with manifests and class lists: train with
--data-root. A stopped run continues where it was; a file with its final name is complete.

With --shards, the clips are then packed into tar shards, as `mmav make-shards` does, and their files removed: train
with --shards shards. Until then the disk holds both.
"""

import argparse
from pathlib import Path

from mmav.datasets.media.transcode import PRESETS, TranscodeOptions
from mmav.datasets.shards.index import SHARDS
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.preparation.checking import USUAL_MANIFESTS, manifests_of, read_rows
from mmav.preparation.packed_clips import forget_shards, pack_prepared, packed_names, require_packing
from mmav.preparation.shard_plan import SIZE, require_seed, shard_size
from mmav.preparation.transcoding import FAILED, check_lists, target_names, totals, transcode_all, write_lists
from mmav.tables import size

EXAMPLE = """examples:
  python tools/data/prepare_media.py data/vggsound data/vggsound_256
  python tools/data/prepare_media.py data/epic_kitchens data/epic_256 --max-fps 30 --jobs 32
  python tools/train.py configs/mmt/mmt_k4_l4_vggsound.py --data-root data/vggsound_256
  python tools/data/prepare_media.py data/audioset data/audioset_shards --shards 1GB --shuffle 0"""


def main() -> None:
    default = TranscodeOptions()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path, help='folder that the manifests lie in and their paths are relative to')
    parser.add_argument('out', type=Path, help='folder of the new dataset')
    parser.add_argument(
        '--manifest', nargs='+', metavar='FILE', help=f'manifests; default: {", ".join(USUAL_MANIFESTS)}'
    )
    parser.add_argument(
        '--short-side', type=int, default=default.short_side, metavar='PIXELS',
        help='short side of the frames, usually 256 or 320; smaller ones keep their size (%(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--keyframes', type=int, default=default.keyframes, metavar='N', help='one every N frames (%(default)s)'
    )
    parser.add_argument('--max-fps', type=float, metavar='FPS', help='drop frames above this rate')
    parser.add_argument('--crf', type=int, default=default.crf, help="x264's quality, lower is better (%(default)s)")
    parser.add_argument(
        '--preset', choices=PRESETS, default=default.preset, help="x264's speed of encoding (%(default)s)"
    )
    parser.add_argument(
        '--audio-codec', choices=('flac', 'aac'), default=default.audio_codec,
        help='flac is lossless, aac saves about 10 kB a second (%(default)s)',
    )  # fmt: skip
    parser.add_argument('--jobs', type=int, metavar='N', help='processes; default: one per core')
    parser.add_argument(
        '--time-limit', type=float, default=7200.0, metavar='S',
        help='seconds after which to give up on a file; default: %(default)g',
    )  # fmt: skip
    parser.add_argument('--force', action='store_true', help='rewrite everything if an earlier run had other options')
    parser.add_argument(
        '--shards',
        nargs='?',
        const=SIZE,
        metavar='BYTES',
        help=f'pack the clips into shards of {SIZE}, or another size',
    )
    parser.add_argument(
        '--shuffle', type=int, metavar='SEED', help='with --shards: pack them in an order drawn with it'
    )
    args = parser.parse_args()
    if args.shuffle is not None and args.shards is None:
        raise ConfigError(f'--shuffle {args.shuffle} has no effect without --shards')
    require_seed(args.shuffle)
    room = None if args.shards is None else shard_size(args.shards)
    try:
        options = TranscodeOptions(**{name: getattr(args, name) for name in default.to_dict() if hasattr(args, name)})
    except ValueError as error:
        raise ConfigError(str(error)) from error
    manifests = [read_rows(str(path)) for path in manifests_of(args.data_root, args.manifest)]
    names = target_names([clip.path for manifest in manifests for clip in manifest.clips])
    check_lists(args.data_root, args.out, manifests)
    if room is None:
        require_packing(args.out, names.values())
    elif args.force:
        forget_shards(args.out)
    outcomes = transcode_all(
        args.data_root, args.out, names, options, jobs=args.jobs, time_limit=args.time_limit, force=args.force,
        packed=packed_names(args.out),
    )  # fmt: skip
    errors = [f'{path}: {outcome.error}' for path, outcome in outcomes.items() if outcome.error is not None]
    if errors and len(errors) == len(outcomes):
        raise MmavError(f'none of the {len(errors)} files can be read; the first is {args.data_root}/{errors[0]}')
    counts = write_lists(args.data_root, args.out, manifests, names, outcomes)
    found = totals(outcomes)
    print(
        f'{found["files"] - found["failed"]} of {found["files"]} files, {found["hours"]:.2f} hours: '
        f'{size(found["bytes_before"], "MB", 1)} before, {size(found["bytes_after"], "MB", 1)} now'
    )
    if found['damaged']:
        print(f'{found["damaged"]} files were damaged; what could be decoded of them is there')
    if found['failed']:
        print(f'{found["failed"]} files could not be read: {args.out / FAILED}')
    for name, (rows, left_out) in counts.items():
        print(f'{args.out / name}: {rows} clips' + (f', {left_out} left out' if left_out else ''))
    if room is not None:
        written = [read_rows(str(args.out / name)) for name, (rows, _) in counts.items() if rows]
        packed = pack_prepared(args.out, written, size=room, seed=args.shuffle, jobs=args.jobs, force=args.force)
        told = 'packed before' if packed is None else f'{packed.shards} shards, {size(packed.size, "MB", 1)}'
        print(f'{args.out / SHARDS}: {told}')


if __name__ == '__main__':
    run_tool(main)
