"""What a training step costs when encoders leave tokens out: operations, memory and time by the share that is left."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.measure import TimedPass, build_classifier, ratio, time_in_turn
from mmav.analysis.complexity import count_model
from mmav.errors import ConfigError
from mmav.models.av_classifier import AVClassifier
from mmav.models.backbones.base import input_shape
from mmav.tables import markdown_table, milliseconds, size

FORMS = ('time', 'ratio')


@dataclass(frozen=True)
class DropCost:
    """A training step at one share.

    Attributes:
        name: Of the config.
        share: What ``token_drop`` leaves out.
        left: Patch tokens that the encoders return, over those without ``token_drop``.
        macs: Multiply-accumulates of a forward pass in training.
        saved: Bytes that the forward pass keeps for the backward pass, without parameters.
        peak: The most bytes that the GPU held in a step; None on a CPU.
        seconds: Median duration of forward and backward pass; on a CPU the processor's time, of all threads together.
        ratio: Median, over the rounds, of the time without ``token_drop`` over the time with it.
        spread: Smallest and largest of these ratios.
    """

    name: str
    share: float
    left: float
    macs: int
    saved: int
    peak: int | None
    seconds: float
    ratio: float
    spread: tuple[float, float]


def with_token_drop(model: Mapping[str, Any], share: float, form: str) -> dict[str, Any]:
    """The config of a model whose encoders leave a share of their tokens out; encoders that cannot stay as they are.

    Args:
        model: Config of an :class:`~mmav.models.AVClassifier`; not changed.
        share: 0 leaves nothing out.
        form: 'time', slices of the axis of time: the last of a spectrogram, the first of a clip; or 'ratio', single
            tokens.

    Raises:
        ConfigError: No encoder can.
    """
    changed_model: dict[str, Any] = copy.deepcopy(dict(model))
    built = _on_meta(model)
    changed = False
    for name, backbone in built.backbones.items():
        if not hasattr(backbone, 'token_drop'):
            continue
        rank = len(backbone.input_size)
        of_time = [share if axis == (rank - 1 if rank == 2 else 0) else 0.0 for axis in range(rank)]
        drop = dict(axes=of_time) if form == 'time' else dict(ratio=share)
        changed_model['backbones'][name]['token_drop'] = drop if share else None
        changed = True
    if not changed:
        kinds = ' and '.join(type(backbone).__name__ for backbone in built.backbones.values())
        raise ConfigError(f'model.backbones: {kinds} cannot leave tokens out, so there is nothing to measure')
    return changed_model


def _on_meta(model: Mapping[str, Any]) -> AVClassifier:
    init_default_scope('mmav')
    with torch.device('meta'):
        return build_classifier(model)


def measure_drops(
    name: str,
    model: Mapping[str, Any],
    shares: Sequence[float],
    *,
    form: str = 'time',
    batch_size: int = 1,
    rounds: int = 3,
) -> list[DropCost]:
    """Measures forward and backward passes at several shares in turn, on the GPU if there is one.

    The loss is the mean square of the fused streams.

    Args:
        name: Of the config, for the rows.
        model: Config of an :class:`~mmav.models.AVClassifier`; not changed.
        shares: What is left out; 0, which the others are compared with, is measured in any case.
        form: Of ``FORMS``.
        batch_size: Clips per step.
        rounds: How often each share is timed, after a warm-up round.

    Raises:
        ConfigError: An encoder cannot leave such a share out, or none can at all.
    """
    shares = (0.0, *(share for share in shares if share))
    configs = {share: with_token_drop(model, share, form) for share in shares}
    plans = {share: _on_meta(config) for share, config in configs.items()}  # refuse before anything is measured
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    built = build_classifier(configs[0.0]).to(device).train()
    inputs = {
        key: torch.randn(batch_size, 1, *input_shape(backbone), device=device)
        for key, backbone in built.backbones.items()
    }
    steps = {share: _step(built, plans[share], inputs) for share in shares}
    memory, left = {}, {}
    for share, step in tqdm(steps.items(), desc=name, unit='share', leave=False):
        saved = step.warm_up()
        memory[share] = (saved or 0, step.peak_bytes() if device.type == 'cuda' else None)
        step.drop_gradients()
        left[share] = _number_of_tokens(plans[share])
    clock = time.perf_counter if device.type == 'cuda' else time.process_time
    seconds = time_in_turn(steps, rounds, after=built.zero_grad, clock=clock)
    costs = []
    for share in shares:
        times = ratio(seconds[0.0], seconds[share])
        macs = count_model(configs[share])[-1].training
        spread = times['least'], times['greatest']
        median = statistics.median(seconds[share])
        tokens = left[share] / left[0.0]
        costs.append(DropCost(name, share, tokens, macs, *memory[share], median, times['median'], spread))
    return costs


def _number_of_tokens(model: AVClassifier) -> int:
    """Patch tokens that the encoders of a model without memory return for a clip in training."""
    number = 0
    for backbone in model.train().backbones.values():
        number += backbone(torch.zeros(2, *input_shape(backbone), device='meta')).patches.shape[1]
    return number


def _step(model: AVClassifier, plan: AVClassifier, inputs: Mapping[str, Tensor]) -> TimedPass:
    """Forward and backward pass of a copy of a model that shares its parameters and drops what ``plan`` does."""
    model = copy.deepcopy(model, memo={id(parameter): parameter for parameter in model.parameters()})
    for key, backbone in model.backbones.items():
        _drop_as(backbone, plan.backbones[key])

    def loss() -> Tensor:
        tokens, _ = model.encode(inputs)
        return torch.stack([stream.float().square().mean() for stream in model.neck(tokens).values()]).sum()

    return TimedPass(loss, 'backward', [model], inputs=list(inputs.values()))


def _drop_as(backbone: nn.Module, other: nn.Module) -> None:
    for attribute in ('token_drop', 'drop_unit'):
        if hasattr(other, attribute):
            setattr(backbone, attribute, getattr(other, attribute))


def drop_table(costs: Sequence[DropCost]) -> str:
    """A Markdown table, one row per config and share."""
    rows = [
        [
            'config', 'left out', 'tokens left', 'MACs, forward', 'kept for the backward pass', 'peak of the GPU',
            'step', 'times as fast, median (range)',
        ]
    ]  # fmt: skip
    for cost in costs:
        low, high = cost.spread
        rows.append(
            [
                cost.name, f'{cost.share:.0%}', f'{cost.left:.0%}', f'{cost.macs / 1e9:.3g} G',
                *(size(number, 'MiB', 1 if (number or 0) < 2**24 else 0) for number in (cost.saved, cost.peak)),
                f'{milliseconds(cost.seconds)} ms', f'{cost.ratio:.2f} ({low:.2f}-{high:.2f})',
            ]
        )  # fmt: skip
    return markdown_table(rows)


def draw_drops(costs: Sequence[DropCost], out_file: str | Path) -> None:
    """Draws what is left of time, memory and operations over the tokens that are left, a panel for each config.

    Args:
        costs: Of any number of configs, each with the share 0.
        out_file: The picture; its suffix tells the format.
    """
    from matplotlib.figure import Figure

    from mmav.visualization.figures import save_figure

    names = list(dict.fromkeys(cost.name for cost in costs))
    figure = Figure(figsize=(3.4 * len(names), 3.4), layout='constrained')
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for axes, name in zip(panels, names, strict=True):
        rows = sorted((cost for cost in costs if cost.name == name), key=lambda cost: cost.left)
        whole = rows[-1]
        left = [cost.left for cost in rows]
        line = partial(axes.plot, left, marker='o', markersize=4)
        line([1 / cost.ratio for cost in rows], color='#d55e00', label='time')
        line([cost.saved / whole.saved for cost in rows], color='#0072b2', label='memory for the backward pass')
        line([cost.macs / whole.macs for cost in rows], color='#2e8b57', label='multiply-accumulates')
        axes.plot([0, 1], [0, 1], color='#b9c1c9', linewidth=1, zorder=0)
        axes.set_title(name, fontsize=10)
        axes.set_xlim(0, 1.03)
        axes.set_ylim(0, 1.1)
        axes.set_xlabel('tokens left')
        for side in ('top', 'right'):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel('of what a step of all tokens takes')
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc='outside lower center', ncols=3)
    save_figure(figure, out_file, dpi=110)
