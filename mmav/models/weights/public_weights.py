"""Public checkpoints into our backbones: keys renamed, shapes adapted, and a report of what became of every weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.adapting import adapt_weights, noted_grids
from mmav.checkpoints import describe_mismatch, load_checkpoint_file
from mmav.errors import CheckpointError
from mmav.models.backbones.ast import TOKENS
from mmav.models.init import LOADED, note_origin
from mmav.models.weights.choices import check_options, choose
from mmav.models.weights.layouts import begin_time, find_layout, state_of, to_ours
from mmav.models.weights.own_checkpoint import find_backbone
from mmav.models.weights.source import locate
from mmav.registry import WEIGHT_INITIALIZERS

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
    """Loads a public checkpoint, or one of our own, into a backbone; what does not fit as it is, is made to fit.

    Relative positions are interpolated linearly to the size that the model has. Of pictures in a model of clips, the
    kernels are inflated, absolute positions are repeated over time, and relative positions over time begin at zero:
    where the strides are the same, every frame of a clip that stands still has the patch tokens of its picture. (With a
    class token that the file lacks they differ by its share of the attention.) A learned token that the file lacks
    keeps its initial value.

    Args:
        module: A backbone, such as MAT or MViTv2.
        path: The file as it is distributed.
        strict: Every other weight of the model must be found and fit, and none but the classifier's be left over.
            Otherwise those are reported and passed over.
        rgb: How a kernel of three channels becomes one for a spectrogram: their ``mean``, or their ``sum``, three times
            as much. AST takes the sum if None, as its code does, others the mean.
        inflate: Where a picture's kernel stands in one of clips: in the ``center`` frame, the default, or as its
            ``mean`` in all, which loses the share that zero padding has at the ends of a clip.
        positions: ``interpolate`` absolute positions, or ``cut`` the middle out of an axis that gets shorter. AST cuts
            those of DeiT's distilled files and of its own, as its code does; otherwise they are interpolated.
        grid: What the absolute positions of the file unroll, where it neither says that nor is of a kind that has one
            only: pictures are square, AST's own files have 12 rows.

    Raises:
        CheckpointError: The file is missing, damaged, would run code, is of no known layout, does not fit, or holds
            what nothing can begin from, such as quantised weights.
        ConfigError: A choice is unknown or has no effect on this file.
    """
    content = load_checkpoint_file(path)
    whole = state_of(content)
    prefix = find_backbone(whole, module, str(path))
    state = {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}
    layout = find_layout(state, str(path))
    renamed, head = to_ours(state, layout)
    report = LoadReport(str(path), f'mmav, {prefix[:-1]}' if prefix else layout.name)
    noted = noted_grids(content, prefix)
    hints, grids = choose(
        module,
        renamed,
        dict(rgb=rgb, inflate=inflate, positions=positions),
        grid=grid,
        noted=noted,
        ours=bool(prefix or noted),
        file=str(path),
    )
    target = dict(module.state_dict())
    renamed, begun = begin_time(renamed, target)
    adapted = adapt_weights(module, renamed, hints, grids=grids)
    weights: dict[str, Tensor] = {}
    for key, own in target.items():
        if key not in renamed:
            report.missing.append(key)
        elif key in adapted:
            weights[key], report.adapted[key] = adapted[key]
        elif renamed[key].shape != own.shape:
            report.misfits[key] = f'{tuple(renamed[key].shape)} for {tuple(own.shape)}'
        else:
            weights[key] = renamed[key]
            if key in begun:
                report.adapted[key] = 'zero, as pictures have no time'
            else:
                report.loaded.append(key)
    strange = [key for key in renamed if key not in target and key not in TOKENS]
    report.unused = [*head, *(key for key in renamed if key not in target)]
    report.unused += [key for key in whole if not key.startswith(prefix)]
    needed = [key for key in report.missing if key not in TOKENS]
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
    """What a parameter would have in place of numbers to begin from; empty where all is well."""
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
        checkpoint: A name of the table (:mod:`mmav.models.weights.table`), an address or a path. What is not here is
            downloaded into torch's cache when the weights are drawn; ``tools/train.py`` does so before it reads data.
        strict: Whether everything but tokens and the classifier must fit.
        allow_overlap: Whether weights may be taken that were trained on what the config's data are a part of, see
            :func:`~mmav.models.weights.uses.weight_problems`, which alone asks for it.
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
            CheckpointError: The file cannot be had; or see :func:`load_public_weights`.
        """
        report = load_public_weights(module, self.source.fetch(), strict=self.strict, **self.adapting)
        note_origin(module, [*report.loaded, *report.adapted], f'{LOADED}{self.source} ({report.layout})')
        for line in str(report).splitlines():  # the console shows no listings
            print_log(line, 'current')
