"""Which test clips each run of an ablation was right about, in a file small enough to stand beside its configs.

With it a row of one's own, or more seeds, are compared with all other rows, clip by clip, without running those again.
A run of two thousand clips takes some hundred characters.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmav.errors import MmavError
from mmav.outputs import write_output

WHAT = 'outcomes of mmav ablation'
SUFFIX = '.json'


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run reached on each test clip.

    Attributes:
        right: Whether each clip is right (N,), in the order of the test list.
        digest: Of the run's settings, see :class:`~mmav.analysis.ablation.settings.Settings`; empty of an average.
        figures: Metric -> value, of the whole test.
        cpu_seconds: Processor time of the run; None of an average.
        parts: Titles and seeds of the runs that an average is made of.
    """

    right: np.ndarray
    digest: str
    figures: Mapping[str, float]
    cpu_seconds: float | None = None
    parts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of an ablation.

    Attributes:
        metric: Key of the figure that says whether a clip is right, such as ``top1``.
        clips: Fingerprint of the test list, see :func:`fingerprint`.
        number: Number of test clips N.
        configs: Title of a row -> its config, as the ablation's file gives it; the name of an average.
        runs: Title of a row, seed -> outcome.
        source: The file.
    """

    metric: str
    clips: str
    number: int
    configs: Mapping[str, str]
    runs: Mapping[tuple[str, int], Outcome]
    source: str = ''


def fingerprint(order: Sequence[tuple[int, str]]) -> str:
    """Of a test list: place in the list and path of each clip, as a dump names them.

    >>> fingerprint([(0, 'a.mp4')]) == fingerprint([(0, 'a.mp4'), (1, 'b.mp4')])
    False
    """
    return hashlib.sha256(json.dumps(list(order)).encode()).hexdigest()[:16]


def read_outcomes(file: str | Path) -> Outcomes:
    """Reads what :func:`write_outcomes` has written.

    Raises:
        MmavError: The file is missing, broken or of something else.
    """
    try:
        content = json.loads(Path(file).read_text(encoding='utf-8'))
        if content['what'] != WHAT:
            raise ValueError('it has another form')
        number = int(content['clips']['number'])
        configs, runs = {}, {}
        for title, row in content['rows'].items():
            configs[title] = str(row['config'])
            for seed, run in row['seeds'].items():
                runs[title, int(seed)] = _outcome(run, row['digest'], number)
        clips = content['clips']['list']
        return Outcomes(str(content['metric']), str(clips), number, configs, runs, str(file))
    except FileNotFoundError as error:
        raise MmavError(f"'{file}' is not there: give a file that --keep has written") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MmavError(
            f"'{file}' has no outcomes of an ablation that can be read: write it anew with --keep"
        ) from error


def write_outcomes(outcomes: Outcomes, file: str | Path) -> None:
    """Writes outcomes, one run a line; an older file of the same kind is replaced."""
    rows: dict[str, Any] = {}
    for (title, seed), run in sorted(
        outcomes.runs.items(), key=lambda each: (_place(outcomes, each[0][0]), each[0][1])
    ):
        row = rows.setdefault(title, {'config': outcomes.configs[title], 'digest': run.digest, 'seeds': {}})
        if row['digest'] != run.digest:
            raise MmavError(f'row {title!r} has runs of different settings: they are no outcomes of one ablation')
        figures = {name: round(float(value), 6) for name, value in run.figures.items() if math.isfinite(value)}
        packed = base64.b64encode(np.packbits(np.asarray(run.right, dtype=bool)).tobytes()).decode()
        parts = {'parts': [list(part) for part in run.parts]} if run.parts else {}
        row['seeds'][str(seed)] = {'figures': figures, 'cpu_seconds': run.cpu_seconds, **parts, 'right': packed}
    lines = []
    for title, row in rows.items():
        head = f'"config": {json.dumps(row["config"])}, "digest": {json.dumps(row["digest"])}, "seeds": {{'
        runs = ',\n'.join(f'   {json.dumps(seed)}: {json.dumps(run)}' for seed, run in row['seeds'].items())
        lines.append(f'  {json.dumps(title, ensure_ascii=False)}: {{{head}\n{runs}}}}}')
    clips = json.dumps({'number': outcomes.number, 'list': outcomes.clips})
    top = f' "what": {json.dumps(WHAT)},\n "metric": {json.dumps(outcomes.metric)},\n "clips": {clips},\n'
    write_output(file, f'{{\n{top} "rows": {{\n' + ',\n'.join(lines) + '\n }\n}\n')


def _place(outcomes: Outcomes, title: str) -> int:
    return list(outcomes.configs).index(title)


def _outcome(run: Mapping[str, Any], digest: str, number: int) -> Outcome:
    bits = np.unpackbits(np.frombuffer(base64.b64decode(run['right'], validate=True), np.uint8))
    if not number <= len(bits) < number + 8:
        raise ValueError(f'{len(bits)} bits of {number} clips')
    seconds = run['cpu_seconds']
    figures = {str(name): float(value) for name, value in run['figures'].items()}
    parts = tuple((str(title), int(seed)) for title, seed in run.get('parts', ()))
    return Outcome(bits[:number].astype(bool), str(digest), figures, None if seconds is None else float(seconds), parts)
