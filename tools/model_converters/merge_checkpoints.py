#!/usr/bin/env python
"""Merges the checkpoints of single-modality models into one for their average (neck type 'Avg')."""

import argparse
import io
from typing import Any

import torch

from mmav.adapting import noted_grids
from mmav.checkpoints import load_checkpoint_file, require_every_weight
from mmav.class_names import Names
from mmav.engine.class_lists import as_given
from mmav.engine.class_merge import alike, check_rows
from mmav.engine.cli import run_tool
from mmav.errors import CheckpointError
from mmav.outputs import check_output, write_output

EXAMPLE = """example:
  python tools/model_converters/merge_checkpoints.py work_dirs/mat_tiny_avsynth/epoch_10.pth \\
      work_dirs/mvitv2_tiny_avsynth/epoch_10.pth --out avg.pth"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoints', nargs='+', help='one per modality')
    parser.add_argument('--out', required=True, help='file to write')
    args = parser.parse_args()
    check_output(args.out, inputs=args.checkpoints, suffixes=['.pth', '.pt', '.pyth'])
    merged: dict[str, torch.Tensor] = {}
    grids: dict[str, tuple[int, ...]] = {}
    names: Names | None = None
    for path in args.checkpoints:
        checkpoint = load_checkpoint_file(path)
        require_every_weight(checkpoint, path)
        state, names = alike(checkpoint, names, path)
        modalities = sorted({key.split('.')[1] for key in state if key.startswith('backbones.')})
        if not modalities:
            raise CheckpointError(f"'{path}' holds no backbone of mmav: give checkpoints of mmav train")
        twice = [key for key in state if key in merged]
        if twice:
            raise CheckpointError(f"'{path}' repeats {twice[0]}: give one checkpoint a modality")
        check_rows(merged, state, path)
        merged.update(state)
        grids.update(noted_grids(checkpoint))
        print(f'{path}: {", ".join(modalities)}, {len(state)} weights')
    buffer = io.BytesIO()
    meta: dict[str, Any] = {} if names is None else dict(dataset_meta=dict(classes=as_given(names)))
    meta['position_grids'] = grids
    torch.save(dict(meta=meta, state_dict=merged), buffer)
    write_output(args.out, buffer.getvalue())
    print(f'written: {args.out}, {len(merged)} weights')


if __name__ == '__main__':
    run_tool(main)
