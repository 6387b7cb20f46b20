"""``activation_checkpointing = dict(budget='36GB')``: blocks keep less until a training step fits the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from torch import nn

from mmav.engine.activation_checkpointing import Parts, on_gpu, read_budget
from mmav.engine.distributed.group import without_gpu
from mmav.engine.memory.plan import CONTEXT_BYTES, GAPS, GIB, Plan, plan_step
from mmav.errors import ConfigError
from mmav.models.layers import BLOCKS


def settle_checkpointing(cfg: Config, model: nn.Module) -> tuple[Parts | None, str]:
    """Resolves a config's ``activation_checkpointing`` on this machine.

    Args:
        cfg: Config of an experiment.
        model: Its model, wrapped for distributed training or not.

    Returns:
        The argument for :func:`~mmav.engine.activation_checkpointing.turn_on_activation_checkpointing`, or None to
        leave it off; and a line for the log, which may be empty.

    Raises:
        ConfigError: The setting has no effect with ``compile``, or nothing fits the budget.
    """
    value = cfg.get('activation_checkpointing')
    budget = isinstance(value, Mapping) and 'budget' in value
    if (value == 'lean' or budget) and cfg.get('compile'):
        raise ConfigError(
            f'activation_checkpointing={value!r} has no effect with compile, as the compiler decides what is kept: '
            'leave one of them out'
        )
    if budget:
        return plan_for_budget(cfg)
    if cfg.get('compile') or not any(isinstance(module, BLOCKS) for module in model.modules()):
        return value, ''
    if not without_gpu():
        if value is None:
            return 'lean', (
                'Blocks are lean: results that are cheap to recompute are not kept for the backward pass '
                '(activation_checkpointing=False keeps everything)'
            )
        return on_gpu(value), ''
    if value is None:
        return (
            None,
            "Blocks keep everything for the backward pass, as on all CPUs; activation_checkpointing='lean' keeps less",
        )
    return value, ''


def plan_for_budget(cfg: Config) -> tuple[dict[str, Any], str]:
    """Plans a run whose config has a budget; all processes get the same plan.

    The budget is everything a process may use: the plan leaves room for what
    :func:`~mmav.engine.memory.plan.needed` adds to the tensors.

    Args:
        cfg: Config with ``activation_checkpointing = dict(budget=...)``: a size, or ``auto`` for all of this GPU's
            memory, or of the smallest GPU if there are several.

    Returns:
        Level -> names of blocks, and the plan in a line.

    Raises:
        ConfigError: The budget is invalid, is combined with other keys, is ``auto`` without a GPU, or is too small.
    """
    value = cfg.activation_checkpointing
    size = read_budget(value)
    if size is None:
        if without_gpu():
            raise ConfigError("activation_checkpointing.budget='auto' needs a GPU, and there is none: give a size")
        size = _gpu_bytes()
    plan = plan_step(cfg, gpu_memory=size, gpus=get_world_size(), capability=_capability())
    if not plan.fits:
        raise ConfigError(f'activation_checkpointing.budget={value["budget"]!r}: {refusal(plan)}')
    guess = ', as on an A100, as there is no GPU' if without_gpu() else ''
    return setting(plan), f'Memory of a step, planned in {plan.dtype}{guess}: {summary(plan)}'


def _gpu_bytes() -> int:
    """Memory of this GPU; with several processes, the smallest one's."""
    own = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    least = torch.tensor(own, device='cuda')
    all_reduce(least, 'min')
    return int(least)


def _capability() -> tuple[int, int]:
    """This GPU's compute capability, the lowest of all processes so that all plan alike; an A100's without a GPU."""
    own = (8, 0) if without_gpu() else torch.cuda.get_device_capability()
    return min(all_gather_object(own))


def setting(plan: Plan) -> dict[str, Any]:
    """The value of ``activation_checkpointing`` that reproduces a plan's levels."""
    levels: dict[str, list[str]] = dict(full=list(plan.whole)) if plan.whole else {}
    for block in plan.blocks:
        if block.level != 'all':
            levels.setdefault(block.level, []).append(block.name)
    lean = levels.pop('lean', [])
    others = {level: joined(levels[level]) for level in ('attention', 'full') if level in levels}
    lean_is_rest = all(block.level != 'all' for block in plan.blocks)
    return (dict(lean=True if lean_is_rest else joined(lean)) if plan.blocks else {}) | others


def joined(names: Sequence[str]) -> list[str]:
    """Names of blocks, with consecutive ones joined into ranges.

    >>> joined(['a.0', 'a.1', 'a.2', 'b.0'])
    ['a.0-2', 'b.0']
    """
    spans: list[list[Any]] = []
    for name in names:
        stem, _, last = name.rpartition('.')
        if last.isdecimal() and spans and spans[-1][0] == stem and spans[-1][2] == int(last) - 1:
            spans[-1][2] = int(last)
        else:
            spans.append([stem, int(last), int(last)] if last.isdecimal() else [name, None, None])
    return [
        stem if first is None else f'{stem}.{first}' + (f'-{last}' if last > first else '')
        for stem, first, last in spans
    ]


def summary(plan: Plan) -> str:
    """A plan in one line."""
    counts = {
        level: sum(block.level == level for block in plan.blocks) for level in ('all', 'lean', 'attention', 'full')
    }
    at = ', '.join(f'{number} {level}' for level, number in counts.items() if number) or 'none'
    of = f' of {plan.gpu_memory / GIB:.1f}' if plan.gpu_memory is not None else ''
    return (
        f'needs {plan.needed / GIB:.1f}{of} GiB; blocks: {at}; {100 * plan.extra:.1f} % of the operations are computed '
        'again'
    )


def refusal(plan: Plan) -> str:
    """Why no plan fits, in one line with figures."""
    assert plan.gpu_memory is not None
    return (
        f'a step of {plan.batch_size} clips in {plan.dtype} needs {plan.needed / GIB:.1f} GiB of '
        f'{plan.gpu_memory / GIB:.1f}, even if all blocks are recomputed ({plan.peak_bytes / GIB:.1f} of tensors, '
        f'{100 * GAPS:.0f} % of gaps, {CONTEXT_BYTES / GIB:.0f} for CUDA): take fewer clips, '
        '--cfg-options train_dataloader.batch_size=N'
    )
