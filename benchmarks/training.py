"""What a training step of a model costs with and without the options that trade memory for time."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from benchmarks.machine import check_names
from benchmarks.measure import TimedPass, build_classifier, ratio, time_in_turn
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.models.av_classifier import AVClassifier
from mmav.models.backbones.base import input_shape
from mmav.models.layers import MultiscaleAttention
from mmav.tables import markdown_table, size

OPTIONS = ('lean', 'checkpointing', 'bfloat16', 'float16', 'compile', 'folded')


@dataclass(frozen=True)
class StepCost:
    """One variant of the step.

    Attributes:
        options: What is turned on, joined by ``+``; ``plain`` for nothing.
        saved: Bytes that the forward pass keeps for the backward pass, without parameters; None for compiled code,
            where they cannot be counted.
        peak: The most bytes that the GPU held in a step; None on a CPU.
        seconds: Median duration of forward and backward pass.
        ratio: Median of the durations over those of the first variant in the same round.
        spread: Smallest and largest of these ratios.
    """

    options: str
    saved: int | None
    peak: int | None
    seconds: float
    ratio: float
    spread: tuple[float, float]


def measure_steps(
    model: Mapping[str, Any], variants: Sequence[Sequence[str]], *, batch_size: int = 1, rounds: int = 3
) -> list[StepCost]:
    """Measures forward and backward passes of variants in turn, on the GPU if there is one.

    The loss is the mean square of the fused streams: heads and contrastive losses cost next to nothing.

    Args:
        model: Config of an :class:`~mmav.models.AVClassifier`; not changed.
        variants: For each variant its options, of ``OPTIONS``; ``folded`` is the form of multiscale attention that
            runs on a GPU. The first variant is the one that the others are compared with.
        batch_size: Clips per step.
        rounds: How often each variant is timed, after a warm-up round.

    Raises:
        ConfigError: An option is unknown or the model is of another type.
    """
    check_names((option for variant in variants for option in variant), OPTIONS, 'options')
    init_default_scope('mmav')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    built = build_classifier(model).to(device).train()
    inputs = {
        name: torch.randn(batch_size, 1, *input_shape(backbone), device=device)
        for name, backbone in built.backbones.items()
    }
    steps = [_timed_step(built, inputs, variant) for variant in variants]
    memory = []
    for step in steps:
        saved = step.warm_up()
        memory.append((saved, step.peak_bytes() if device.type == 'cuda' else None))
        step.drop_gradients()
    seconds = time_in_turn(dict(enumerate(steps)), rounds, after=built.zero_grad)
    costs = []
    for number, variant in enumerate(variants):
        times = ratio(seconds[number], seconds[0])
        spread = times['least'], times['greatest']
        median = statistics.median(seconds[number])
        costs.append(StepCost('+'.join(variant) or 'plain', *memory[number], median, times['median'], spread))
    return costs


def _timed_step(model: AVClassifier, inputs: Mapping[str, Tensor], options: Sequence[str]) -> TimedPass:
    """Forward and backward pass of a copy of a model that shares its parameters, as options change modules in place."""
    model = copy.deepcopy(model, memo={id(parameter): parameter for parameter in model.parameters()})
    if 'folded' in options:
        for module in model.modules():
            if isinstance(module, MultiscaleAttention):
                module.attention = 'folded'
    turn_on_activation_checkpointing(model, 'checkpointing' in options or ('lean' in options and 'lean'))

    def loss() -> Tensor:
        tokens, _ = model.encode(inputs)
        return torch.stack([stream.float().square().mean() for stream in model.neck(tokens).values()]).sum()

    dtype = next((getattr(torch, option) for option in options if option.endswith('float16')), torch.float32)
    given = list(inputs.values())
    return TimedPass(loss, 'backward', [model], inputs=given, dtype=dtype, compiled='compile' in options)


def cost_table(costs: Sequence[StepCost]) -> str:
    """A Markdown table, one row per variant."""
    rows = [['options', 'saved for the backward pass', 'peak of the GPU', 'step', 'time ratio, median (range)']]
    for cost in costs:
        low, high = cost.spread
        memory = size(cost.saved, 'MiB'), size(cost.peak, 'MiB')
        rows.append([cost.options, *memory, f'{cost.seconds:.2f} s', f'{cost.ratio:.2f} ({low:.2f}-{high:.2f})'])
    return markdown_table(rows)
