#!/usr/bin/env python
"""Packs the clips of a dataset into tar shards in WebDataset's layout, with an index: a few large files, which network
disks and object stores read much faster than millions of small ones.

The new folder is a dataset of its own, with manifests and class lists; its shards may be moved to an object store. A
stopped run goes on where it was, and the same input gives the same bytes. Train with --data-root OUT --shards shards.

With --index, the shards of others, written by webdataset for example, get an index and a manifest; they stay as and
where they are.
"""

import argparse
from pathlib import Path

from mmav.datasets.shards.index import SHARDS
from mmav.datasets.shards.shard_set import open_shards
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError, MmavError
from mmav.preparation.checking import USUAL_MANIFESTS, manifests_of, read_rows
from mmav.preparation.packing import FAILED, pack
from mmav.preparation.shard_check import verify
from mmav.preparation.shard_lists import index_others
from mmav.preparation.shard_plan import SIZE, shard_size
from mmav.tables import size

EXAMPLE = """examples:
  python tools/data/make_shards.py data/vggsound_256 data/vggsound_shards --shuffle 0 --verify
  python tools/train.py configs/mmt/mmt_k4_l4_vggsound.py --data-root data/vggsound_shards --shards shards
  python tools/data/make_shards.py --index 'data/others/train-{000000..000123}.tar' data/others_mmav --label-field class
  python tools/data/make_shards.py --index 's3://bucket/shards/{0000..0099}.tar' data/others_mmav"""
NAMED = 20


def tell_damage(damaged: list[tuple[str, str]]) -> None:
    """Lists what is damaged, and ends with an error if anything is."""
    for what, how in damaged[:NAMED]:
        print(f'{what}: {how}')
    if damaged:
        more = f', of which the first {NAMED} are listed' if len(damaged) > NAMED else ''
        raise MmavError(f'{len(damaged)} clips or shards are damaged{more}: pack them again, or fetch them again')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'source', help='folder that the manifests lie in; with --index, a folder of shards or a pattern of their names'
    )
    parser.add_argument('out', type=Path, help='folder of the new dataset')
    parser.add_argument(
        '--manifest', nargs='+', metavar='FILE', help=f'manifests; default: {", ".join(USUAL_MANIFESTS)}'
    )
    parser.add_argument(
        '--size', metavar='BYTES', help='bytes of a shard at most, such as 256MB or 1GB; default: ' + SIZE
    )
    parser.add_argument(
        '--shuffle', type=int, metavar='SEED',
        help='pack clips in an order drawn with this seed, so that reading forward gives mixed batches; default: the '
        "manifests' order",
    )  # fmt: skip
    parser.add_argument('--jobs', type=int, metavar='N', help='processes; default: one per core')
    parser.add_argument('--verify', action='store_true', help='then read all shards and compare checksums')
    parser.add_argument('--force', action='store_true', help='pack all again if an earlier run had other options')
    parser.add_argument('--index', action='store_true', help='index shards that are there')
    parser.add_argument(
        '--label-field', metavar='FIELD', help="with --index: where labels are, 'cls', 'txt' or a field of 'json'"
    )
    parser.add_argument('--media', metavar='SUFFIX', help="with --index: which file of a sample is the clip, as 'mp4'")
    parser.add_argument('--name', help='with --index: name of the manifest and the index; default: train')
    args = parser.parse_args()
    if args.index:
        wrong = [name for name in ('manifest', 'size', 'shuffle', 'force') if getattr(args, name) not in (None, False)]
        if wrong:
            raise ConfigError(f'--{wrong[0]} has no effect with --index: the shards stay as they are')
        found = index_others(
            args.source,
            args.out,
            name='train' if args.name is None else args.name,
            media=args.media,
            label_field=args.label_field,
            jobs=args.jobs,
        )
        print(f'{found.shards} shards, {found.clips} clips: {found.manifest}')
        for line in found.notes:
            print(line)
        place = found.place
    else:
        wrong = [name for name in ('label_field', 'media', 'name') if getattr(args, name) is not None]
        if wrong:
            raise ConfigError(f'--{wrong[0].replace("_", "-")} is for --index: here the manifests say it')
        root = Path(args.source)
        manifests = [read_rows(str(path)) for path in manifests_of(root, args.manifest)]
        packed = pack(
            root, args.out, manifests, size=shard_size(args.size or SIZE), seed=args.shuffle, jobs=args.jobs,
            force=args.force,
        )  # fmt: skip
        print(
            f'{packed.clips} clips in {packed.shards} shards, {size(packed.size, "MB", 1)}: {args.out / SHARDS}'
            + (f'; {packed.written} of them written now' if packed.written < packed.shards else '')
        )
        if packed.failed:
            print(f'{len(packed.failed)} files cannot be read and are broken clips of the dataset: {args.out / FAILED}')
        for name in packed.edited:
            print(f'{args.out / name} was edited and stays as it is')
        place = SHARDS
    if args.verify:
        shards = open_shards(place, str(args.out))
        tell_damage(verify(shards.index, shards.store, jobs=args.jobs))
        print(f'all {len(shards.index)} clips are as they were packed')


if __name__ == '__main__':
    run_tool(main)
