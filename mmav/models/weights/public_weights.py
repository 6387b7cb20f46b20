"""Loads public checkpoints into our backbones: renames keys, adapts shapes, and reports the outcome for each weight."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.adapting import adapt_weights, noted_grids
from mmav.checkpoints import describe_mismatch, load_checkpoint_file, require_every_weight
from mmav.errors import CheckpointError
from mmav.models.backbones.ast import TOKENS
from mmav.models.init import LOADED, note_file, note_origin
from mmav.models.lora import is_lora
from mmav.models.weights.cav_mae import NAME as CAV_MAE
from mmav.models.weights.cav_mae import is_cav_mae, read_stream
from mmav.models.weights.choices import check_options, choose
from mmav.models.weights.layouts import begin_time, find_layout, state_of, to_ours
from mmav.models.weights.own_checkpoint import KERNEL, find_backbone
from mmav.models.weights.source import locate
from mmav.registry import WEIGHT_INITIALIZERS

_SHOWN = 5


@dataclass
class LoadReport:
    """The outcome for the weights of a file and a model.

    Attributes:
        source: The file.
        layout: The project that wrote it.
        loaded: Our keys that were loaded unchanged.
        adapted: Our keys that were adapted -> what was changed.
        missing: Our keys that are missing from the file; they keep their initial values.
        misfits: Our keys with another shape in the file -> the two shapes.
        unused: Keys of the file that the model does not have, including the classifier's.
    """

    source: str
    layout: str
    loaded: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misfits: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        others = dict(adapted=self.adapted, misfitting=self.misfits, missing=self.missing, unused=self.unused)
        sums = ''.join(f', {len(items)} {title}' for title, items in others.items() if items)
        lines = [f"'{self.source}' ({self.layout}): {len(self.loaded)} weights loaded as they are{sums}"]
        if self.adapted:
            first = {how: key for key, how in reversed(self.adapted.items())}
            kinds = [
                f'{first[how]}{f" and {number - 1} more" if number > 1 else ""} ({how})'
                for how, number in Counter(self.adapted.values()).items()
            ]
            lines.append(f'  {len(self.adapted)} adapted: {", ".join(kinds)}')
        for title, items in (
            ('of another shape, not loaded', [f'{key} ({shapes})' for key, shapes in self.misfits.items()]),
            ('missing, left as initialised', self.missing),
            ('in the file but not used', self.unused),
        ):
            if items:
                more = f', ... and {len(items) - _SHOWN} more' if len(items) > _SHOWN else ''
                lines.append(f'  {len(items)} {title}: {", ".join(items[:_SHOWN])}{more}')
        return '\n'.join(lines)


class _Encoder(NamedTuple):
    """What a file holds for a backbone.

    Attributes:
        layout: The project that wrote it.
        weights: Under our names.
        left_out: Keys of its classifier or decoder.
        others: Keys of the file that are no part of this encoder.
        grids: What its tables of positions unroll, as far as the file or its kind says.
        ours: Whether it is our own checkpoint.
        fresh: Pattern of our keys that such a file may lack.
    """

    layout: str
    weights: dict[str, Tensor]
    left_out: Sequence[str] = ()
    others: Sequence[str] = ()
    grids: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    ours: bool = False
    fresh: str = ''


def _find_encoder(content: Mapping[str, Any], module: nn.Module, path: str, grid: Sequence[int] | None) -> _Encoder:
    whole = state_of(content)
    if is_cav_mae(whole):
        kernel = module.state_dict().get(KERNEL)
        modality = 'audio' if kernel is not None and kernel.shape[1] == 1 else 'video'
        stream = read_stream(whole, modality)
        return _Encoder(f'{CAV_MAE}, {modality}', stream.weights, stream.left_out, grids=dict(pos_embed=stream.grid))
    prefix = find_backbone(whole, module, path)
    state = {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}
    layout = find_layout(state, path)
    weights, left_out = to_ours(state, layout, grid)
    noted = noted_grids(content, prefix)
    fixed = dict(pos_embed=tuple(grid or layout.sincos)) if layout.sincos and 'pos_embed' not in state else {}
    return _Encoder(
        f'mmav, {prefix[:-1]}' if prefix else layout.name,
        weights,
        left_out,
        [key for key in whole if not key.startswith(prefix)],
        {**fixed, **noted},
        bool(prefix or noted),
        layout.fresh,
    )


def load_public_weights(
    module: nn.Module,
    path: str | Path,
    *,
    strict: bool = True,
    rgb: str | None = None,
    inflate: str | None = None,
    positions: str | None = None,
    grid: Sequence[int] | None = None,
) -> LoadReport:
    """Loads a public checkpoint, or one of our own, into a backbone, adapting weights that do not fit.

    Relative positions are interpolated linearly to the model's size. From an image model to a clip model, kernels are
    inflated, absolute positions are repeated over time, and relative positions over time start at zero: with equal
    strides, every frame of a clip of equal frames has the patch tokens of the image. (With a class token missing from
    the file, they differ by its share of the attention.) A learned token missing from the file keeps its initial value.

    Args:
        module: A backbone, such as MAT or MViTv2.
        path: The file as distributed.
        strict: Whether every other weight of the model must be found and fit, with none but the classifier's left over.
            Otherwise such weights are reported and skipped.
        rgb: How a kernel with three channels is merged for a spectrogram: their ``mean``, or their ``sum``, three times
            as much. Defaults to the sum for AST, as in its code, and to the mean for others.
        inflate: How an image kernel is inflated over time: in the ``center`` frame, the default, or as its ``mean`` in
            all frames, which loses the share of the zero padding at the ends of a clip.
        positions: ``interpolate`` absolute positions, or ``cut`` the middle of an axis that gets shorter. AST cuts
            those of DeiT's distilled files and of its own, as in its code; otherwise they are interpolated.
        grid: The grid of the file's absolute positions, if it neither says nor is of a kind with a known grid: images
            are square, AST's own files have 12 rows.

    Raises:
        CheckpointError: The file is missing, damaged, would run code, has an unknown layout, does not fit, or holds
            unusable weights, such as quantised ones.
        ConfigError: A choice is unknown or has no effect on this file.
    """
    content = load_checkpoint_file(path)
    require_every_weight(content, str(path))
    found = _find_encoder(content, module, str(path), grid)
    report = LoadReport(str(path), found.layout)
    hints, grids = choose(
        module,
        found.weights,
        dict(rgb=rgb, inflate=inflate, positions=positions),
        grid=grid,
        noted=found.grids,
        ours=found.ours,
        file=str(path),
    )
    target = dict(module.state_dict())
    renamed, begun = begin_time(found.weights, target)
    adapted = adapt_weights(module, renamed, hints, grids=grids)
    weights: dict[str, Tensor] = {}
    for key, own in target.items():
        if key not in renamed:
            if not is_lora(key):  # new to any file
                report.missing.append(key)
        elif key in adapted:
            weights[key], report.adapted[key] = adapted[key]
        elif renamed[key].shape != own.shape:
            report.misfits[key] = f'{tuple(renamed[key].shape)} for {tuple(own.shape)}'
        else:
            weights[key] = renamed[key]
            if key in begun:
                report.adapted[key] = 'zero, as images have no time'
            else:
                report.loaded.append(key)
    strange = [key for key in renamed if key not in target and key not in TOKENS]
    report.unused = [*found.left_out, *(key for key in renamed if key not in target), *found.others]
    needed = [key for key in report.missing if key not in TOKENS and not (found.fresh and re.search(found.fresh, key))]
    if not weights or (strict and (report.misfits or needed or strange)):
        misfits = [f'{key} {shapes}' for key, shapes in report.misfits.items()]
        raise CheckpointError(
            f"'{path}' ({report.layout}) is of another architecture: {describe_mismatch(needed, strange, misfits)}; "
            'strict=False takes what fits'
        )
    for key, value in weights.items():
        what = '' if target[key].is_meta else _why_no_numbers(value)
        if what:
            raise CheckpointError(f"'{path}' ({report.layout}) holds {what} for {key}: give a file of plain numbers")
    module.load_state_dict(weights, strict=False)
    return report


def _why_no_numbers(value: Tensor) -> str:
    """Describes the unusable values of a parameter; empty if they are fine."""
    if value.is_meta:
        return 'no values'
    if value.layout != torch.strided:
        return 'a sparse matrix'
    if not value.is_floating_point():
        return f'values of type {str(value.dtype).removeprefix("torch.")}'
    return '' if bool(torch.isfinite(value.float()).all()) else 'values that are not finite'


@WEIGHT_INITIALIZERS.register_module()
class PublicWeights:
    """``init_cfg`` of a backbone: public weights, see :func:`load_public_weights`; logs the report.

    ``backbones=dict(audio=dict(type='MAT', init_cfg=dict(type='PublicWeights', checkpoint='mvitv2_b_in1k')))``

    Args:
        checkpoint: A name in the table (:mod:`mmav.models.weights.table`), a URL or a path. Missing files are
            downloaded to torch's cache when the weights are initialised; ``tools/train.py`` does so before it reads
            data.
        strict: Whether everything but tokens and the classifier must fit.
        allow_overlap: Whether to allow weights that were trained on a dataset that contains the config's data; used
            only by :func:`~mmav.models.weights.uses.weight_problems`.
        rgb, inflate, positions, grid: See :func:`load_public_weights`.

    Raises:
        CheckpointError: There are no weights of that name.
        ConfigError: A choice is unknown.
    """

    def __init__(
        self,
        checkpoint: str,
        strict: bool = True,
        *,
        allow_overlap: bool = False,
        rgb: str | None = None,
        inflate: str | None = None,
        positions: str | None = None,
        grid: Sequence[int] | None = None,
    ) -> None:
        check_options(dict(rgb=rgb, inflate=inflate, positions=positions), grid)
        self.source = locate(checkpoint)
        self.strict = strict
        self.allow_overlap = allow_overlap
        self.adapting: dict[str, Any] = dict(rgb=rgb, inflate=inflate, positions=positions, grid=grid)

    def __call__(self, module: nn.Module) -> None:
        """Fills a module.

        Raises:
            CheckpointError: The file is not available; or see :func:`load_public_weights`.
        """
        report = load_public_weights(module, self.source.fetch(), strict=self.strict, **self.adapting)
        note_file(module, str(self.source), report.loaded)
        note_origin(module, [*report.loaded, *report.adapted], f'{LOADED}{self.source} ({report.layout})')
        for line in str(report).splitlines():  # the console shows no listings
            print_log(line, 'current')
