#!/usr/bin/env python
"""Shows what a public checkpoint contains and, with OUT, writes its weights under mmav's names."""

import argparse
import io
from collections.abc import Iterable
from typing import Any

import torch

from mmav.checkpoints import load_checkpoint_file, require_every_weight
from mmav.engine.cli import run_tool
from mmav.errors import CheckpointError
from mmav.models.weights.cav_mae import NAME as CAV_MAE
from mmav.models.weights.cav_mae import is_cav_mae, read_stream
from mmav.models.weights.layouts import find_layout, state_of, to_ours
from mmav.models.weights.own_checkpoint import encoders_in
from mmav.models.weights.source import locate
from mmav.outputs import check_output, write_output

EXAMPLE = """example:
  python tools/model_converters/convert_weights.py mvitv2_b_in1k                    # look, downloads it first
  python tools/model_converters/convert_weights.py MViTv2_B_in1k.pyth mvitv2_b.pth  # convert

Converting is not needed for training: init_cfg=dict(type='PublicWeights', checkpoint='mvitv2_b_in1k')
reads the file as it is distributed. Names: python tools/model_converters/download_weights.py --list"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='file as it is distributed, or its name or address')
    parser.add_argument('out', nargs='?', help='file to write')
    parser.add_argument('--keys', action='store_true', help='list every weight under its new name')
    args = parser.parse_args()
    source = locate(args.checkpoint)
    if args.out:
        check_output(args.out, inputs=[str(source.path)], suffixes=['.pth', '.pt', '.pyth'])
    content = load_checkpoint_file(source.fetch())
    require_every_weight(content, args.checkpoint)
    state = state_of(content)
    encoders = encoders_in(state)
    if encoders:
        tell_own(args.checkpoint, state, encoders)
        if args.out:
            raise CheckpointError(f"'{args.checkpoint}' has mmav's names already: give it to init_cfg as it is")
        return
    if is_cav_mae(state):
        tell_streams(args.checkpoint, state)
        if args.out:
            raise CheckpointError(f"'{args.checkpoint}' holds two encoders: give it to the init_cfg of each as it is")
        return
    layout = find_layout(state, args.checkpoint)
    weights, left_out = to_ours(state, layout)
    number = sum(value.numel() for value in weights.values())
    print(f'{args.checkpoint}: {layout.name}, {len(weights)} weights, {number / 1e6:.1f} M parameters')
    if left_out:
        print(f'left out, as they belong to its classifier or decoder: {", ".join(left_out)}')
    if args.keys:
        for key, value in weights.items():
            print(f'  {key} {tuple(value.shape)} {str(value.dtype).removeprefix("torch.")}')
    if args.out:
        fixed = 'pos_embed' in weights and layout.sincos  # of which its file says nothing
        write(args.out, weights, dict(position_grids=dict(pos_embed=layout.sincos)) if fixed else {})
        print(f'written: {args.out}')


def tell_own(path: str, state: dict[str, torch.Tensor], encoders: Iterable[str]) -> None:
    print(f'{path}: checkpoint of mmav train, {len(state)} weights')
    for prefix in encoders:
        weights = [value.numel() for key, value in state.items() if key.startswith(prefix)]
        print(f'  {prefix[:-1]}: {len(weights)} weights, {sum(weights) / 1e6:.1f} M parameters')


def tell_streams(path: str, state: dict[str, torch.Tensor]) -> None:
    print(f'{path}: {CAV_MAE}, {len(state)} weights')
    for modality in ('audio', 'video'):
        weights = read_stream(state, modality).weights
        print(f'  {modality}: {len(weights)} weights, {sum(map(torch.numel, weights.values())) / 1e6:.1f} M parameters')


def write(path: str, weights: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(dict(meta=meta, state_dict={key: value.clone() for key, value in weights.items()}), buffer)
    write_output(path, buffer.getvalue())


if __name__ == '__main__':
    run_tool(main)
