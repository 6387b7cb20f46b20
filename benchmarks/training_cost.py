"""What a training step of a model costs with and without the options that trade memory against time."""

from __future__ import annotations

import copy
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.rounds import ratio, time_in_turn
from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.precision import autocast
from mmav.errors import ConfigError
from mmav.models.av_classifier import AVClassifier
from mmav.models.input_shape import input_shape
from mmav.models.layers import MultiscaleAttention
from mmav.models.ops.lean import watching
from mmav.registry import MODELS
from mmav.tables import markdown_table

OPTIONS = ('lean', 'checkpointing', 'bfloat16', 'float16', 'compile', 'folded')


@dataclass(frozen=True)
class StepCost:
    """One variant of the step.

    Attributes:
        options: What is turned on, joined by ``+``; ``plain`` for nothing.
        saved: Bytes that the forward pass keeps for the backward pass, parameters not counted; None under compilation,
            which keeps them where they cannot be counted.
        peak: Bytes that the GPU held at most in a step; None on a CPU.
        seconds: Median duration of forward and backward pass.
        ratio: Median of the durations over those of the first variant in the same round.
        spread: Least and greatest of these ratios.
    """

    options: str
    saved: int | None
    peak: int | None
    seconds: float
    ratio: float
    spread: tuple[float, float]


def saved_bytes(run: Callable[[], Any], parameters: Sequence[Tensor] = ()) -> tuple[int, Any]:
    """Counts the bytes that a forward pass keeps for its backward pass, and returns its result.

    Memory that several tensors share counts once; that of ``parameters``, which is there anyway, not at all.

    >>> x = torch.zeros(10, requires_grad=True)
    >>> saved_bytes(lambda: x.exp())[0]  # exp keeps its result: 10 numbers of 4 bytes
    40
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), watching(pack):
        result = run()
    return sum(held.values()), result


def live_bytes(run: Callable[[], Any]) -> int:
    """By how many bytes a call on the CPU exceeds at most what was allocated before it.

    Of PyTorch's allocator, as its profiler tells: memory of tensors, whoever holds them. What libraries take for
    themselves, and Python's objects, are not in it.

    >>> live_bytes(lambda: torch.zeros(10) + torch.zeros(10))  # three tensors of 10 numbers of 4 bytes
    120
    """
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')  # it would tell on the console when it begins and ends
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for event in sorted((event for event in events if event.name() == '[memory]'), key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def measure_steps(
    model: Mapping[str, Any], variants: Sequence[Sequence[str]], *, batch_size: int = 1, rounds: int = 3
) -> list[StepCost]:
    """Measures forward and backward passes of variants in turn, on the GPU if there is one.

    The loss is the mean of squares of the fused streams: heads and contrastive losses cost next to nothing.

    Args:
        model: Config of an :class:`~mmav.models.AVClassifier`; not changed.
        variants: For each variant its options, out of ``OPTIONS``; ``folded`` is the form of multiscale attention that
            runs on a GPU. The first variant is what the others are compared with.
        batch_size: Clips.
        rounds: How often every variant is timed; one more goes before, to warm up.

    Raises:
        ConfigError: An option is unknown or the model is of another type.
    """
    unknown = {option for variant in variants for option in variant} - set(OPTIONS)
    if unknown:
        raise ConfigError(f'unknown options {", ".join(sorted(unknown))}: choose of {", ".join(OPTIONS)}')
    init_default_scope('mmav')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    built = MODELS.build({key: value for key, value in model.items() if key != 'data_preprocessor'})
    if not isinstance(built, AVClassifier):
        raise ConfigError(f'model.type={model.get("type")!r}: only an AVClassifier can be measured')
    built.to(device).train()
    inputs = {
        name: torch.randn(batch_size, 1, *input_shape(model['backbones'][name]), device=device)
        for name in built.backbones
    }
    steps = [_Step(built, inputs, tuple(variant)) for variant in variants]
    saved = [step.count() for step in steps]
    seconds = time_in_turn(dict(enumerate(steps)), rounds, after=built.zero_grad)
    costs = []
    for number, (step, kept) in enumerate(zip(steps, saved, strict=True)):
        times = ratio(seconds[number], seconds[0])
        costs.append(
            StepCost(
                '+'.join(step.options) or 'plain',
                kept,
                step.peak,
                statistics.median(seconds[number]),
                times['median'],
                (times['least'], times['greatest']),
            )
        )
    return costs


class _Step:
    """Forward and backward pass of a copy of a model, with options."""

    def __init__(self, model: AVClassifier, inputs: Mapping[str, Tensor], options: tuple[str, ...]) -> None:
        self.options, self.inputs = options, inputs
        self.peak: int | None = None
        self.device = next(model.parameters()).device
        # options change modules in place: each variant has modules of its own, but the parameters are shared
        self.model = copy.deepcopy(model, memo={id(parameter): parameter for parameter in model.parameters()})
        if 'folded' in options:
            for module in self.model.modules():
                if isinstance(module, MultiscaleAttention):
                    module.attention = 'folded'
        turn_on_activation_checkpointing(self.model, 'checkpointing' in options or ('lean' in options and 'lean'))
        self.forward: Callable[[], Tensor] = self._loss
        if 'compile' in options:
            self.forward = torch.compile(self._loss)

    def _loss(self) -> Tensor:
        tokens, _ = self.model.encode(self.inputs)
        streams = self.model.neck(tokens)
        return torch.stack([stream.float().square().mean() for stream in streams.values()]).sum()

    def _forward(self) -> Tensor:
        half = [getattr(torch, option) for option in self.options if option.endswith('float16')]
        with autocast(self.device, half[0] if half else torch.float32):
            return self.forward()

    def count(self) -> int | None:
        """Runs the step once, and counts what it saves."""
        saved, loss = saved_bytes(self._forward, list(self.model.parameters()))
        loss.backward()
        self.model.zero_grad()
        return None if 'compile' in self.options else saved

    def __call__(self) -> None:
        """The step."""
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        self._forward().backward()
        if self.device.type == 'cuda':
            # what is allocated is known when the work is queued
            self.peak = torch.cuda.max_memory_allocated()


def cost_table(costs: Sequence[StepCost]) -> str:
    """A Markdown table, one row a variant."""
    rows = [['options', 'saved for the backward pass', 'peak of the GPU', 'step', 'time ratio, median (range)']]
    for cost in costs:
        saved, peak = ('-' if n is None else f'{n / 2**20:.0f} MiB' for n in (cost.saved, cost.peak))
        low, high = cost.spread
        rows.append([cost.options, saved, peak, f'{cost.seconds:.2f} s', f'{cost.ratio:.2f} ({low:.2f}-{high:.2f})'])
    return markdown_table(rows)
