"""What the runs of an ablation reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmav.analysis.ablation.rows import Row

RESULT = 'result.json'


def read_results(rows: Sequence[Row], seeds: Sequence[int], work_dir: Path) -> dict[Row, list[dict[str, Any] | None]]:
    """Returns the figures of each row and seed; None for a run that has not ended.

    A run has ended when its folder holds :data:`RESULT`, which is written last, whole or not at all.
    """
    results: dict[Row, list[dict[str, Any] | None]] = {}
    for row in rows:
        files = [row.folder(work_dir, seed) / RESULT for seed in seeds]
        results[row] = [json.loads(file.read_text(encoding='utf-8')) if file.is_file() else None for file in files]
    return results
