"""Reads which rows an ablation has."""

from __future__ import annotations

from pathlib import Path

import yaml

from mmav.analysis.ablation.rows import Row


def read_rows(metafile: str | Path) -> list[Row]:
    """Returns the rows that the section ``Ablation`` of a metafile lists."""
    listed = yaml.safe_load(Path(metafile).read_text(encoding='utf-8'))['Ablation']['Rows']
    return [Row(entry['Row'], entry['Config'], tuple(entry.get('Parts', ()))) for entry in listed]
