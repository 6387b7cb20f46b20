"""Reports of memory plans: for a terminal, for a page, and as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from mmav import tables
from mmav.engine.memory.budget import joined, refusal, setting, summary
from mmav.engine.memory.plan import CONTEXT_BYTES, GAPS, GIB, BlockPlan, Plan

_WORDS = dict(
    weights='weights and buffers',
    gradients='gradients',
    optimizer="optimizer's state",
    buckets='buckets of DistributedDataParallel',
    average='averaged weights',
    inputs='inputs',
    activations='kept for the backward pass',
    workspace='workspace of the block or operation at the peak',
)


def text_report(plan: Plan) -> str:
    """Memory of a step, and what its blocks keep, for a terminal."""
    sizes = {_WORDS[name]: size for name, size in plan.parts.items() if size}
    sizes['together: the most that PyTorch allocates'] = plan.peak_bytes
    gaps = plan.needed - plan.peak_bytes - CONTEXT_BYTES
    sizes |= {f'gaps between tensors, assumed ({100 * GAPS:.0f} %)': gaps, 'CUDA, assumed': CONTEXT_BYTES}
    sizes['GPU memory needed'] = plan.needed
    rows = [['at the peak of a step', 'GiB'], *([words, _gib(size)] for words, size in sizes.items())]
    kept = [['blocks', 'level', 'each keeps', 'GiB', 'at level all', 'operations again']]
    kept += map(_row, _runs(plan.blocks))
    kept += [["blocks' inputs, and outside of blocks", '', '', _gib(plan.others), _gib(plan.others), '']]
    return f'{tables.text_table(rows, left=1)}\n\n{tables.text_table(kept, left=2)}'


def verdict(plan: Plan) -> str:
    """Whether the step fits, and the line for the config."""
    if not plan.fits:
        return f'does not fit: {refusal(plan)}'
    lines = [('fits: ' if plan.gpu_memory is not None else '') + summary(plan)]
    if any(block.level in ('attention', 'full') for block in plan.blocks):
        lines.append(f'in the config: activation_checkpointing = {_code(setting(plan))}')
    return '\n'.join(lines)


def as_data(plan: Plan) -> dict[str, Any]:
    """A plan for a JSON file; sizes in bytes."""
    return dict(
        batch_size=plan.batch_size,
        dtype=plan.dtype,
        gpu_memory=plan.gpu_memory,
        fits=plan.fits,
        needed=plan.needed,
        peak=plan.peak_bytes,
        parts=dict(plan.parts),
        assumed=dict(gaps=GAPS, context=CONTEXT_BYTES),
        macs=plan.macs,
        computed_again=plan.extra,
        activation_checkpointing=setting(plan),
        outside_of_blocks=plan.others,
        blocks=[dict(vars(block)) for block in plan.blocks],
    )


def cards_table(plans: Mapping[str, Sequence[Plan]]) -> str:
    """A Markdown table of the plans of several configs (in words -> plans) for several cards."""
    rows = [['step', 'GPU', 'needs', 'blocks', 'computed again', '`activation_checkpointing`']]
    for name, of_cards in plans.items():
        for plan in of_cards:
            assert plan.gpu_memory is not None
            card = tables.size(plan.gpu_memory, 'GiB')
            needs = tables.size(plan.needed, 'GiB', 2)
            if not plan.fits:
                rows.append([name, card, f'{needs}: does not fit', '', '', ''])
                continue
            levels = [f'{len(list(group))} {level}' for level, group in groupby(sorted(plan.levels.values()))]
            line = setting(plan)
            said = f'`{_code(line)}`' if set(line) != {'lean'} else 'not needed'
            rows.append([name, card, needs, ', '.join(levels), f'{100 * plan.extra:.1f} %', said])
    return tables.markdown_table(rows)


def _runs(blocks: Sequence[BlockPlan]) -> list[list[BlockPlan]]:
    """Consecutive blocks that keep the same."""
    return [list(run) for _, run in groupby(blocks, key=lambda b: (b.name.split('.blocks')[0], b.level, b.kept, b.all))]


def _row(run: Sequence[BlockPlan]) -> list[str]:
    names = ', '.join(joined([block.name for block in run]))
    kept, extra = (sum(getattr(block, key) for block in run) for key in ('kept', 'extra'))
    most = sum(block.kept if block.all is None else block.all for block in run)
    return [names, run[0].level, tables.size(run[0].kept, 'MiB'), _gib(kept), _gib(most), f'{extra / 1e9:.0f} GMACs']


def _code(value: Mapping[str, Any]) -> str:
    return 'dict(' + ', '.join(f'{key}={item!r}' for key, item in value.items()) + ')'


def _gib(size: int) -> str:
    return f'{size / GIB:.2f}'
