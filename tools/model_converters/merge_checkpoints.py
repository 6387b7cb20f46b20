#!/usr/bin/env python
"""Merges checkpoints into one: single-modality models for their average (neck type 'Avg'), or what was trained on
features with the encoders of these features, for files.
"""

import argparse
import io
from typing import Any

import torch

from mmav.adapting import noted_grids
from mmav.checkpoints import load_checkpoint_file, require_every_weight
from mmav.class_names import Names
from mmav.engine.class_lists import as_given
from mmav.engine.class_merge import alike, alike_kind, check_rows
from mmav.engine.cli import run_tool
from mmav.engine.features.merging import encoders_behind, join_encoders
from mmav.engine.label_kinds import MULTI_LABEL
from mmav.errors import CheckpointError
from mmav.outputs import check_output, write_output

EXAMPLE = """examples:
  python tools/model_converters/merge_checkpoints.py work_dirs/mat_tiny_avsynth/epoch_10.pth \\
      work_dirs/mvitv2_tiny_avsynth/epoch_10.pth --out avg.pth
  python tools/model_converters/merge_checkpoints.py work_dirs/mine_features/epoch_20.pth features/mine/encoders.pth \\
      --out whole.pth"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoints', nargs='+', help='one per modality; or one trained on features, and encoders.pth')
    parser.add_argument('--out', required=True, help='file to write')
    args = parser.parse_args()
    check_output(args.out, inputs=args.checkpoints, suffixes=['.pth', '.pt', '.pyth'])
    loaded = [(path, load_checkpoint_file(path)) for path in args.checkpoints]
    on_features = [(path, checkpoint) for path, checkpoint in loaded if encoders_behind(checkpoint) is not None]
    if on_features:
        (path, trained), *more = on_features
        if more:
            raise CheckpointError(f"'{path}' and '{more[0][0]}' were both trained on features: give one of them")
        write(args.out, *join_encoders(trained, path, [each for each in loaded if each[0] != path]))
        return
    merged: dict[str, torch.Tensor] = {}
    grids: dict[str, tuple[int, ...]] = {}
    names: Names | None = None
    several: bool | None = None
    for path, checkpoint in loaded:
        require_every_weight(checkpoint, path)
        state, names = alike(checkpoint, names, path)
        several = alike_kind(checkpoint, several, path)
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
    meta: dict[str, Any] = {} if names is None else dict(dataset_meta=dict(classes=as_given(names)))
    if several is not None:
        meta[MULTI_LABEL] = several
    meta['position_grids'] = grids
    write(args.out, merged, meta)


def write(path: str, state: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict=state), buffer)
    write_output(path, buffer.getvalue())
    print(f'written: {path}, {len(state)} weights')


if __name__ == '__main__':
    run_tool(main)
