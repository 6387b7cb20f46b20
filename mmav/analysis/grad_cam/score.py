"""How well a model's maps find the events of AVSynth: their shares of mass, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mmav.analysis.grad_cam.clips import SeenClip, look
from mmav.analysis.grad_cam.report import CamModel, SourceClip
from mmav.errors import MmavError
from mmav.evaluation.localization import Event, Shares, shares, summarise
from mmav.inference import AVInferencer
from mmav.outputs import write_json
from mmav.tables import text_table
from mmav.visualization.grad_cam import GradCAM
from mmav.visualization.token_grid import Axis, spread
from mmav.visualization.token_sites import blocks_of, find_site

BATCH = 16


class Look(NamedTuple):
    """A map of one modality: of which block, by which method."""

    modality: str
    block: str
    method: str


class CamScores:
    """Collects shares of mass over clips.

    ``ceiling`` is the share of the event itself, drawn on the grid of the tokens and interpolated as a map is: the
    most that a block can reach.

    Args:
        inferencer: The model.
        blocks: Modality -> block, as :class:`GradCAM` takes it; None for all blocks that read a modality.
        methods: Of :data:`mmav.visualization.grad_cam.METHODS`.
    """

    def __init__(
        self, inferencer: AVInferencer, blocks: Mapping[str, int | str] | None, methods: Sequence[str]
    ) -> None:
        self.inferencer = inferencer
        self.methods = tuple(methods)
        model: Any = inferencer.model
        if blocks is not None:
            self.rounds: list[dict[str, int | str]] = [dict(blocks)]
        else:
            # round k takes the k-th block of each modality, or the default of one that has fewer
            names = {modality: list(blocks_of(model, modality)) for modality in model.backbones}
            most = max(len(each) for each in names.values())
            self.rounds = [{m: each[k] for m, each in names.items() if k < len(each)} for k in range(most)]
        self.every = blocks is None
        self.found: dict[Look, list[Shares]] = {}
        self.ceilings: dict[tuple[str, str], list[Shares]] = {}
        self.grids: dict[tuple[str, str], tuple[int, ...]] = {}

    def add(self, clips: Sequence[SeenClip], events: Sequence[Event], *, part: str = 'label') -> None:
        """Adds some clips, each with the map of its most probable class."""
        data = self.inferencer.prepare([clip.item for clip in clips])
        inputs = data['inputs']
        model: Any = self.inferencer.model
        sizes = {name: x.shape[3:] for name, x in inputs.items()}
        covers = [clip.covers(event) for clip, event in zip(clips, events, strict=True)]
        for blocks in self.rounds:
            wanted = list(blocks) if self.every else list(model.backbones)
            for method in self.methods:
                cam = GradCAM(model, blocks=blocks, method=method)
                maps = cam(inputs, data['masks'], part=part)
                for modality in wanted:
                    site = find_site(model, modality, cam.blocks[modality], sizes)
                    place = modality, site.name
                    self.grids[place] = tuple(axis.length for axis in site.axes)
                    rows = self.found.setdefault(Look(*place, method), [])
                    for values, cover in zip(maps[modality], covers, strict=True):
                        if modality in cover:
                            rows.append(shares(values[0].cpu().numpy(), cover[modality]))
            for modality in wanted:
                site = find_site(model, modality, blocks.get(modality), sizes)
                best = self.ceilings.setdefault((modality, site.name), [])
                for cover in covers:
                    if modality in cover:
                        best.append(_ceiling(cover[modality], site.axes, sizes[modality]))

    def rows(self) -> list[dict[str, Any]]:
        """One dict per kind of map: ``modality``, ``block``, ``grid``, ``method``, figures of :func:`summarise`, and
        ``ceiling``, the highest ratio that can be reached.
        """
        found = []
        for way in sorted(self.found, key=lambda way: (way.modality != 'video', list(self.grids).index(way[:2]))):
            place = way[:2]
            ceiling = summarise(self.ceilings[place])['ratio']
            row = dict(modality=way.modality, block=way.block, grid=list(self.grids[place]), method=way.method)
            found.append({**row, **summarise(self.found[way]), 'ceiling': ceiling})
        return found


def _ceiling(cover: np.ndarray, axes: Sequence[Axis], size: Sequence[int]) -> Shares:
    """Shares of a map that equals the event at the centres of the tokens."""
    whole = np.broadcast_to(cover, tuple(size))
    values = torch.as_tensor(np.array(whole), dtype=torch.float32)
    for k, (axis, samples) in enumerate(zip(axes, size, strict=True)):
        centres = axis.first + axis.step * torch.arange(axis.length)
        values = values.index_select(k, centres.round().long().clamp(0, samples - 1))
    return shares(spread(values, axes, size).numpy(), cover)


def score_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as a text table: shares in percent, the ratio with its interval of 95 %."""
    lines = [('modality', 'block', 'grid', 'method', 'mass', 'room', 'ratio', '95 %', 'at most', 'no map')]
    for row in rows:
        cells = ['-'] * 4
        if row['ratio'] is not None:
            low, high = row['interval']
            cells = [f'{row["mass"]:.1%}', f'{row["room"]:.1%}', f'{row["ratio"]:.2f}', f'{low:.2f} to {high:.2f}']
        ceiling = '-' if row['ceiling'] is None else f'{row["ceiling"]:.2f}'
        grid = 'x'.join(map(str, row['grid']))
        lines.append((row['modality'], row['block'], grid, row['method'], *cells, ceiling, str(row['without_map'])))
    return text_table(lines, left=4)


def score_models(
    models: Sequence[CamModel],
    clips: Sequence[SourceClip],
    out: Path,
    *,
    blocks: Mapping[str, int | str] | None,
    methods: Sequence[str],
) -> str:
    """Measures how well the maps of models find the events of clips; writes ``scores.json``.

    Args:
        models: The models.
        clips: Clips of AVSynth.
        out: Folder.
        blocks: Modality -> block; None for all blocks.
        methods: Of :data:`mmav.visualization.grad_cam.METHODS`.

    Returns:
        A table for each model.

    Raises:
        MmavError: The events are not known, or a clip cannot be read.
    """
    known = [clip for clip in clips if clip.event is not None]
    if not known:
        raise MmavError(
            '--score: the place of events is unknown for these clips, and known for AVSynth only (tools/data/avsynth)'
        )
    texts, content = [], []
    for model in models:
        own = None if blocks is None else {m: b for m, b in blocks.items() if m in model.model.backbones}
        scores = CamScores(model.inferencer, own, methods)
        with tqdm(total=len(known), desc=model.name, unit='clip') as bar:
            for k in range(0, len(known), BATCH):
                part = known[k : k + BATCH]
                seen = [look(model.inferencer, clip.path, start=clip.start, end=clip.end) for clip in part]
                scores.add(seen, [clip.event for clip in part if clip.event is not None], part=model.part)
                bar.update(len(part))
        rows = scores.rows()
        content.append(dict(model=model.name, clips=len(known), rows=rows))
        texts.append(f'{model.name}: {len(known)} clips\n{score_table(rows)}')
    text = '\n\n'.join(texts)
    try:
        write_json(out / 'scores.json', dict(models=content))
    except MmavError:
        print(text)  # a long measurement is not lost with the file
        raise
    return text
