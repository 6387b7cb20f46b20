"""A picture of a memory plan: what each block keeps for the backward pass and what it recomputes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmav.tables import UNITS
from mmav.visualization.figures import save_figure

if TYPE_CHECKING:  # importing matplotlib takes a second
    from matplotlib.axes import Axes

    from mmav.engine.memory.plan import Plan

_GIB = UNITS['GiB']
_KEPT, _AGAIN, _TEXT, _LIMIT = '#2a6f97', '#d9e4ec', '#333333', '#b3001b'
_FAR = 4
_HATCHES = dict(all='', lean='', attention='//', full='xx')


def draw_plan(plan: Plan, title: str, out_file: str | Path) -> None:
    """Draws a bar for each block in the order of the forward pass, and the parts of the step's peak.

    The lower part of a block's bar is what it keeps, the upper part what it recomputes instead of keeping it. Hatched
    blocks keep the results of their attention, or only their input.

    Args:
        plan: The plan, made with ``compare``.
        title: Above the picture.
        out_file: The picture; its suffix tells the format.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(13, 4.2), layout='constrained')
    axes, peak = figure.subplots(1, 2, width_ratios=(8, 1.4))
    blocks = plan.blocks
    places = np.arange(len(blocks))
    kept = np.array([block.kept for block in blocks]) / _GIB
    again = np.maximum(np.array([block.all or block.kept for block in blocks]) / _GIB - kept, 0)
    hatches = [_HATCHES[block.level] for block in blocks]
    axes.bar(places, kept, color=_KEPT, width=0.8, hatch=hatches, edgecolor='white')
    axes.bar(places, again, bottom=kept, color=_AGAIN, width=0.8)
    _name_parts(axes, [block.name for block in blocks], float((kept + again).max(initial=0)))
    axes.set_xlim(-0.8, len(blocks) - 0.2)
    axes.set_ylabel('GiB for the backward pass')
    found = {block.level for block in blocks}
    names = dict(attention='attention and input kept', full='input kept only')
    handles = [Patch(color=_KEPT, label='kept'), Patch(color=_AGAIN, label='computed again')]
    handles += [
        Patch(facecolor=_KEPT, edgecolor='white', hatch=_HATCHES[level], label=text)
        for level, text in names.items()
        if level in found
    ]
    figure.legend(handles=handles, frameon=False, loc='outside lower center', ncols=len(handles))
    _draw_peak(peak, plan)
    for each in (axes, peak):
        each.spines[['top', 'right']].set_visible(False)
    figure.suptitle(title, color=_TEXT)
    save_figure(figure, out_file, dpi=110)


def _name_parts(axes: Axes, names: list[str], top: float) -> None:
    """Writes the parts of the model over their blocks, and the blocks' numbers below."""
    parts = [name.split('.blocks')[0].removeprefix('backbones.') for name in names]
    starts = [i for i, part in enumerate(parts) if i == 0 or part != parts[i - 1]]
    for start, end in zip(starts, [*starts, len(parts)][1:], strict=True):
        if start:
            axes.axvline(start - 0.5, color='#bbbbbb', linewidth=0.8)
        axes.text((start + end - 1) / 2, top * 1.06, parts[start], ha='center', color=_TEXT)
    numbers = [name.split('.blocks.')[-1].split('.')[0] for name in names]
    # of several blocks with one number, the first
    shown = [i for i, n in enumerate(numbers) if n.isdecimal() and int(n) % 5 == 0 and (i in starts or n != '0')]
    axes.set_xticks(shown, [numbers[i] for i in shown])
    axes.set_xlabel('block')
    axes.set_ylim(0, top * 1.18 or 1)


def _draw_peak(axes: Axes, plan: Plan) -> None:
    from matplotlib import colormaps

    parts = {name: size / _GIB for name, size in plan.parts.items() if size}
    total = plan.peak_bytes / _GIB
    gpu = None if plan.gpu_memory is None else plan.gpu_memory / _GIB
    # a GPU many times as large would shrink the peak to nothing
    is_near = gpu is not None and gpu < _FAR * total
    top = 1.1 * (max(total, gpu) if gpu is not None and is_near else total)
    bottom = 0.0
    for index, (name, size) in enumerate(parts.items()):
        axes.bar([0], [size], bottom=bottom, width=0.6, color=colormaps['Blues'](0.25 + 0.65 * index / len(parts)))
        if size > 0.03 * top:
            number = f'{size:.1f}' if total > 2 else f'{size:.2g}'
            axes.text(0.36, bottom + size / 2, f'{name} {number}', va='center', fontsize=8, color=_TEXT)
        bottom += size
    axes.set_xlim(-0.4, 1.5)
    axes.set_xticks([0], ['peak'])
    axes.set_ylim(0, top)
    if gpu is not None:
        if is_near:
            axes.axhline(gpu, color=_LIMIT, linewidth=1)
        label, height = ('GPU', gpu) if is_near else (f'GPU: {gpu:.3g}', top)
        axes.text(1.5, height, label, color=_LIMIT, ha='right', va='bottom', fontsize=8)
