"""Public checkpoints into our backbones: keys renamed, shapes adapted, and a report of what became of every weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.engine.checkpoint_io import describe_mismatch, load_checkpoint_file
from mmav.errors import CheckpointError
from mmav.models.backbones.ast import resize_positions
from mmav.models.init import note_origin
from mmav.models.layers.relative_position import resize_table
from mmav.models.weights.layouts import find_layout, state_of, to_ours
from mmav.registry import WEIGHT_INITIALIZERS

# learned tokens that a model may have and a checkpoint need not: ImageNet's MViTv2 has no class token
_TOKENS = ('cls_token', 'dist_token')
AST_ROWS = 12
_SHOWN = 5


@dataclass
class LoadReport:
    """What became of the weights of a file and of a model.

    Attributes:
        source: The file.
        layout: Who wrote it.
        loaded: Our keys that were filled as they are.
        adapted: Our keys that were filled after a change -> what was changed.
        missing: Our keys that the file has nothing for; they keep their initial values.
        misfits: Our keys for which the file has another shape -> the two shapes.
        unused: Keys of the file that the model has no place for, the classifier's among them.
    """

    source: str
    layout: str
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfits: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"'{self.source}' ({self.layout}): {len(self.loaded)} weights loaded as they are"]
        for title, items in (
            ('adapted', [f'{key} ({how})' for key, how in self.adapted.items()]),
            ('of another shape, not loaded', [f'{key} ({shapes})' for key, shapes in self.misfits.items()]),
            ('missing, left as initialised', self.missing),
            ('in the file but not used', self.unused),
        ):
            if items:
                more = f', ... and {len(items) - _SHOWN} more' if len(items) > _SHOWN else ''
                lines.append(f'  {len(items)} {title}: {", ".join(items[:_SHOWN])}{more}')
        return '\n'.join(lines)


def load_public_weights(module: nn.Module, path: str | Path, *, strict: bool = True) -> LoadReport:
    """Loads a public checkpoint into a backbone.

    The kernel of an RGB patch embedding is averaged to one channel for a spectrogram; relative positions and position
    embeddings are interpolated linearly to the size that the model has. A class token that the file lacks keeps its
    initial value.

    Args:
        module: A backbone, such as MAT or MViTv2.
        path: The file as it is distributed.
        strict: Every other weight of the model must be found and fit, and none but the classifier's be left over.
            Otherwise those are reported and passed over.

    Raises:
        CheckpointError: The file is missing, damaged, would run code, is of no known layout, or does not fit.
    """
    state = state_of(load_checkpoint_file(path))
    layout = find_layout(state, str(path))
    renamed, head = to_ours(state, layout)
    report = LoadReport(str(path), layout.name)
    target = dict(module.state_dict())
    weights: dict[str, Tensor] = {}
    for key, own in target.items():
        if key not in renamed:
            report.missing.append(key)
            continue
        if key == 'pos_embed':
            value, how = adapt_positions(renamed[key], own.shape, module.grid, module.num_extra)  # type: ignore[arg-type]
        else:
            value, how = adapt(key, renamed[key], own.shape)
        if value is None:
            report.misfits[key] = f'{tuple(renamed[key].shape)} for {tuple(own.shape)}'
        else:
            weights[key] = value
            if how:
                report.adapted[key] = how
            else:
                report.loaded.append(key)
    strange = [key for key in renamed if key not in target and key not in _TOKENS]
    report.unused = [*head, *(key for key in renamed if key not in target)]
    needed = [key for key in report.missing if key not in _TOKENS]
    if not weights or (strict and (report.misfits or needed or strange)):
        misfits = [f'{key} {shapes}' for key, shapes in report.misfits.items()]
        raise CheckpointError(
            f"'{path}' ({layout.name}) is of another architecture: {describe_mismatch(needed, strange, misfits)}; "
            'strict=False takes what fits'
        )
    module.load_state_dict(weights, strict=False)
    return report


def adapt(key: str, value: Tensor, shape: tuple[int, ...]) -> tuple[Tensor | None, str]:
    """Fits one weight to the shape that the model has.

    Args:
        key: Our name of it.
        value: The weight.
        shape: The model's shape.

    Returns:
        The weight, or None where it cannot be fitted, and what was changed.
    """
    if value.shape == shape:
        return value, ''
    if key == 'patch_embed.proj.weight' and shape[1] == 1 and value.shape[2:] == shape[2:] and len(value) == shape[0]:
        return value.mean(dim=1, keepdim=True), f'{value.shape[1]} channels averaged to 1'
    if '.rel_pos.tables.' in key and value.shape[1:] == shape[1:]:
        return resize_table(value, shape[0]), f'{value.shape[0]} rows interpolated to {shape[0]}'
    return None, ''


def adapt_positions(
    value: Tensor, shape: tuple[int, ...], grid: tuple[int, ...], num_extra: int
) -> tuple[Tensor | None, str]:
    """Interpolates learned positions (1, num_extra + N, D) to another grid; those of the tokens stay.

    A file does not say what its N unrolls: a square, as of images, where N is a square number; else 12 rows, those of
    AST's public models (128 mel bins, patches of 16 at stride 10).

    Args:
        value: The file's positions.
        shape: The model's shape.
        grid: What the model's N unrolls.
        num_extra: How many tokens come before the patches, in both.

    Returns:
        The positions, or None where they cannot be fitted, and what was changed.
    """
    if value.shape == shape:
        return value, ''
    number = value.shape[1] - num_extra
    side = math.isqrt(max(number, 0))
    old = (side, side) if side * side == number else (AST_ROWS, number // AST_ROWS)
    if value.shape[2] != shape[2] or number < 1 or math.prod(old) != number or len(grid) != 2:
        return None, ''
    patches = resize_positions(value[:, num_extra:], old, grid)
    return torch.cat((value[:, :num_extra], patches), dim=1), f'positions of {old} interpolated to {grid}'


@WEIGHT_INITIALIZERS.register_module()
class PublicWeights:
    """``init_cfg`` of a backbone: public weights, see :func:`load_public_weights`; logs the report.

    ``backbones=dict(audio=dict(type='MAT', init_cfg=dict(type='PublicWeights', checkpoint='MViTv2_B_in1k.pyth')))``

    Args:
        checkpoint: The file as it is distributed.
        strict: Whether everything but tokens and the classifier must fit.
    """

    def __init__(self, checkpoint: str, strict: bool = True) -> None:
        self.checkpoint = checkpoint
        self.strict = strict

    def __call__(self, module: nn.Module) -> None:
        """Fills a module.

        Raises:
            CheckpointError: See :func:`load_public_weights`.
        """
        report = load_public_weights(module, self.checkpoint, strict=self.strict)
        note_origin(module, [*report.loaded, *report.adapted], f"loaded from '{self.checkpoint}' ({report.layout})")
        for line in str(report).splitlines():  # the console shows no listings
            print_log(line, 'current')
