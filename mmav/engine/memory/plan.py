"""Counts the GPU memory of a config's training step on fake tensors, and plans one that fits.

``plan_step(cfg).peak_bytes`` is the most that PyTorch's allocator holds in a step; compare
``torch.cuda.max_memory_allocated()``. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from mmav.config.edits import training_views
from mmav.engine.activation_checkpointing import LEVELS, levels_of, on_gpu, turn_on_activation_checkpointing
from mmav.engine.memory.choice import Choice
from mmav.engine.memory.count import BlockCost, Moment, TimeLine, block_cost
from mmav.engine.memory.fake_gpu import fake_gpu
from mmav.engine.memory.meter import MemoryMeter
from mmav.engine.memory.optimizer import optimizer_bytes
from mmav.engine.precision import DTYPES, Hardware, autocast, decide
from mmav.errors import ConfigError
from mmav.models.av_classifier import AVClassifier
from mmav.models.backbones.base import input_shape
from mmav.models.layers import BLOCKS
from mmav.models.losses.class_weights import forget_balance
from mmav.registry import MODELS
from mmav.structures import AVDataSample
from mmav.tables import UNITS

GIB = UNITS['GiB']
# assumptions about what cannot be counted: the CUDA context with the libraries' own memory, and gaps between tensors
# that the allocator cannot use, as a share of what it allocates
CONTEXT_BYTES = GIB
GAPS = 0.05
# more clips on one GPU are a mistake, and would take minutes to count
MOST_CLIPS = 100_000


@dataclass(frozen=True)
class BlockPlan:
    """One block in a plan.

    Attributes:
        name: Its name in the model.
        level: One of :data:`~mmav.engine.activation_checkpointing.LEVELS`.
        kept: Bytes that it keeps for its backward pass at that level, not counting its input.
        all: The same at level ``all``; None if not counted.
        extra: Multiply-accumulates that are recomputed.
    """

    name: str
    level: str
    kept: int
    all: int | None
    extra: int


@dataclass(frozen=True)
class Plan:
    """What one GPU holds during a training step. All sizes are in bytes.

    Attributes:
        peak_bytes: The peak of PyTorch's allocator: compare ``torch.cuda.max_memory_allocated()``.
        parts: 'weights', 'gradients', 'optimizer', 'buckets', 'average', 'inputs', 'activations', 'workspace' -> bytes
            at that moment. They add up to ``peak_bytes``.
        blocks: The blocks in the order of the forward pass.
        others: Bytes at the end of the forward pass that blocks do not keep or that are their inputs.
        macs: Multiply-accumulates of a step without recomputation.
        extra: Share of these that is recomputed.
        gpu_memory: Bytes of the GPU; None if not given.
        batch_size: Clips per GPU.
        dtype: Type of products.
        whole: Names of modules without blocks that are recomputed as a whole.
    """

    peak_bytes: int
    parts: Mapping[str, int]
    blocks: Sequence[BlockPlan]
    others: int
    macs: int
    extra: float
    gpu_memory: int | None
    batch_size: int
    dtype: str
    whole: Sequence[str] = ()

    @property
    def levels(self) -> dict[str, str]:
        """Name of a block -> its level."""
        return {block.name: block.level for block in self.blocks}

    @property
    def needed(self) -> int:
        """Bytes of GPU memory that the step needs: the peak, gaps and the CUDA context."""
        return needed(self.peak_bytes)

    @property
    def fits(self) -> bool:
        """Whether the GPU's memory is enough; True if it was not given."""
        return self.gpu_memory is None or self.needed <= self.gpu_memory


def needed(peak: int) -> int:
    """Bytes of GPU memory needed for a peak of the allocator, with the assumed gaps and CUDA context.

    >>> needed(20 * 2**30) / 2**30
    22.0
    """
    return round(peak * (1 + GAPS)) + CONTEXT_BYTES


def plan_step(
    cfg: Config,
    *,
    batch_size: int | None = None,
    dtype: str | None = None,
    gpu_memory: int | None = None,
    checkpointing: Any = None,
    gpus: int = 1,
    capability: tuple[int, int] = (8, 0),
    compare: bool = False,
) -> Plan:
    """Counts a training step of a config on a GPU, without needing one.

    Args:
        cfg: Config of an experiment; not changed.
        batch_size: Clips per GPU; defaults to the config's.
        dtype: 'float32', 'bfloat16' or 'float16'; defaults to the config's training precision.
        gpu_memory: Bytes of a GPU: blocks keep less than ``checkpointing`` says until the step fits, recomputing as few
            operations as possible. If nothing fits, the plan is the smallest one, and ``fits`` is False. None keeps
            ``checkpointing``.
        checkpointing: A value of ``activation_checkpointing``; defaults to the config's, or ``lean``.
        gpus: Processes: several need DistributedDataParallel's buckets, or share what FSDP shards.
        capability: The GPU's compute capability; (8, 0) is an A100.
        compare: Whether to count what blocks would keep at level ``all`` as well.

    Raises:
        ConfigError: The model has another type, the batch size is not positive or larger than any GPU holds, or the
            config compiles the model, so the compiler chooses what is kept.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f'dtype={dtype!r}: choose one of {", ".join(DTYPES)}')
    if cfg.get('compile'):
        raise ConfigError(
            'compile: the compiler decides what is kept, which cannot be planned: use --cfg-options compile=False'
        )
    hardware = Hardware('cuda', 'the GPU', bfloat16=capability >= (8, 0))
    with fake_gpu(capability=capability):
        step = _Step(cfg, batch_size, dtype or decide(cfg, hardware).amp or 'float32', gpus)
        return step.plan(_asked(cfg, checkpointing), gpu_memory, compare)


def _asked(cfg: Config, checkpointing: Any) -> Any:
    asked = cfg.get('activation_checkpointing') if checkpointing is None else checkpointing
    return on_gpu(None if isinstance(asked, Mapping) and 'budget' in asked else asked)


class _Step:
    """A config's training step on fake tensors."""

    def __init__(self, cfg: Config, batch_size: int | None, dtype: str, gpus: int) -> None:
        init_default_scope('mmav')
        self.cfg, self.dtype, self.gpus = cfg, dtype, gpus
        loader = cfg.get('train_dataloader') or {}
        self.batch_size = loader.get('batch_size', 1) if batch_size is None else batch_size
        if not isinstance(self.batch_size, int) or not 1 <= self.batch_size <= MOST_CLIPS:
            raise ConfigError(f'{self.batch_size!r} clips on each GPU: give 1 to {MOST_CLIPS}')
        self.model = MODELS.build({key: value for key, value in cfg.model.items() if key != 'data_preprocessor'})
        if not isinstance(self.model, AVClassifier):
            raise ConfigError(f'model.type={cfg.model.get("type")!r}: memory can only be planned for an AVClassifier')
        if any(getattr(module, 'attention', None) == 'flex' for module in self.model.modules()):
            raise ConfigError(
                "attention='flex' is compiled on a GPU and cannot be counted without one: plan with 'folded'"
            )
        self.model.train()
        forget_balance(self.model)
        self.modules = dict(self.model.named_modules())
        self.meter = MemoryMeter()
        self.fixed = dict(weights=self._weigh([*self.model.parameters(), *self.model.buffers()]))
        options = (cfg.get('optim_wrapper') or {}).get('optimizer') or dict(type='AdamW')
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.fixed['optimizer'], self.update = optimizer_bytes(options, parameters)
        trained = sum(map(_size, parameters))
        spread = bool(cfg.get('fsdp')) and gpus > 1
        self.spread = gpus if spread else 1
        self.fixed['buckets'] = trained if gpus > 1 and not spread else 0
        averaged = any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ())
        self.fixed['average'] = self.fixed['weights'] if averaged else 0
        views = training_views(cfg)
        with self.meter.paused():
            self.inputs = {
                name: torch.empty(self.batch_size, views.get(name, 1), *input_shape(backbone))
                for name, backbone in self.model.backbones.items()
            }
        self.fixed['inputs'] = self._weigh(list(self.inputs.values()))
        self.line = TimeLine(self.meter)

    def _weigh(self, tensors: Sequence[Tensor]) -> int:
        before = self.meter.now
        for tensor in tensors:
            self.meter.weigh(tensor)
        return self.meter.now - before

    def _loss(self) -> Tensor:
        samples = [AVDataSample() for _ in range(self.batch_size)]
        for (part, head), sample in product(self.model.head.parts.items(), samples):
            several = getattr(head, 'multi_label', False)
            sample.set_gt({part: (0,) if several else 0}, {part: head.num_classes} if several else None)
        with autocast(torch.device('cuda'), DTYPES[self.dtype]):
            losses = self.model(self.inputs, samples, mode='loss')
            return torch.stack([value.float() for name, value in losses.items() if 'loss' in name]).sum()

    def plan(self, asked: Any, gpu_memory: int | None, compare: bool) -> Plan:
        """Runs the step with blocks at the requested levels, and chooses others if it does not fit."""
        has_blocks = any(isinstance(module, BLOCKS) for module in self.modules.values())
        levels = levels_of(self.model, asked) if has_blocks or asked != 'lean' else {}
        whole = [name for name in levels if not isinstance(self.modules[name], BLOCKS)]
        if whole:
            turn_on_activation_checkpointing(self.model, dict(full=whole))
        self.line.run(self.model, self._loss, lambda name, args: self._cost(name, levels[name], args))
        calls = list(zip(self.line.names, self.line.args, strict=True))
        offered = [LEVELS[LEVELS.index(levels[name]) :] for name, _ in calls]
        costs = [[self._cost(name, own[0], args)] for (name, args), own in zip(calls, offered, strict=True)]
        choice, chosen = self._choice(costs), [0] * len(calls)
        budget = None if gpu_memory is None else int((gpu_memory - CONTEXT_BYTES) / (1 + GAPS))
        if budget is not None and choice.peak(chosen) > budget:
            for (name, args), own, counted in zip(calls, offered, costs, strict=True):
                counted += [self._cost(name, level, args) for level in own[1:]]
            choice = self._choice(costs)
            chosen = choice.choose(budget) or choice.least()
        blocks = [
            BlockPlan(
                name,
                own[number],
                kept[number].kept,
                self._cost(name, 'all', args).kept if compare else None,
                kept[number].again,
            )
            for (name, args), own, number, kept in zip(calls, offered, chosen, costs, strict=True)
        ]
        macs = self.line.macs + sum(own[0].macs for own in costs)
        peak, parts = self._parts(choice, chosen)
        others = self.line.left - self.fixed['weights'] - self.fixed['inputs']
        extra = (self.line.again + choice.extra(chosen)) / macs
        return Plan(peak, parts, blocks, others, macs, extra, gpu_memory, self.batch_size, self.dtype, whole)

    def _cost(self, name: str, level: str, args: Any) -> BlockCost:
        return block_cost(self.modules[name], level, args, dtype=self.dtype)

    def _choice(self, costs: Sequence[Sequence[BlockCost]]) -> Choice:
        moments = self.line.moments
        alive = np.zeros((len(moments), len(costs)), dtype=np.int64)
        for row, moment in zip(alive, moments, strict=True):
            row[list(moment.alive)] = 1
        return Choice(
            np.array([sum(self._shared(moment).values()) for moment in moments]),
            alive,
            np.array([moment.phase == 'forward' for moment in moments]),
            turn=np.array([-1 if moment.block is None else moment.block for moment in moments]),
            options=costs,
        )

    def _shared(self, moment: Moment) -> dict[str, int]:
        """Bytes at a moment, without what blocks keep and create."""
        fixed, share = self.fixed, self.spread
        others = moment.bytes - moment.gradients - fixed['weights'] - fixed['inputs']
        return dict(
            weights=fixed['weights'] // share + (self._gathered() if share > 1 else 0),
            gradients=moment.gradients // share,
            optimizer=fixed['optimizer'] // share,
            buckets=fixed['buckets'],
            average=fixed['average'],
            inputs=fixed['inputs'],
            activations=others,
        )

    def _gathered(self) -> int:
        """Bytes of weights that FSDP gathers at once: outside the blocks, in the current block and in the next one."""
        of_blocks = [
            sum(map(_size, block.parameters())) for block in self.modules.values() if isinstance(block, BLOCKS)
        ]
        outside = sum(map(_size, self.model.parameters())) - sum(of_blocks)
        return outside + sum(sorted(of_blocks)[-2:])

    def _parts(self, choice: Choice, chosen: Sequence[int]) -> tuple[int, dict[str, int]]:
        """The peak of a step and its parts."""
        taken = choice.taken(chosen)
        number = int(taken.argmax())
        moment = self.line.moments[number]
        parts = self._shared(moment)
        kept = sum(choice.options[block][chosen[block]].kept for block in moment.alive)
        parts['activations'] += kept
        parts['workspace'] = int(taken[number]) - sum(parts.values())
        # all gradients exist when the optimizer updates the weights
        last = dict(self._shared(self.line.moments[-1]), activations=0, workspace=self.update)
        return max((sum(parts.values()), parts), (sum(last.values()), last), key=lambda found: found[0])


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()
