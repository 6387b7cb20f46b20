"""What training logged, over all restarts of a run: a table of speed and best results, and curves of several runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmav.errors import MmavError, did_you_mean
from mmav.tables import markdown_table

SCALARS = 'scalars.json'
# keys of the training log that are not losses or metrics
_BOOKKEEPING = {'epoch', 'iter', 'step', 'time', 'data_time', 'memory', 'clips_per_s', 'lr', 'base_lr', 'grad_norm'}
# lower is better for metrics with these words
_LESS_IS_BETTER = ('loss', 'error')
# Okabe and Ito's, which colour-blind readers can tell apart
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')


@dataclass
class Log:
    """What one run logged.

    Attributes:
        name: Its name.
        train: One dict per line of the training log, in the order of ``iter``: ``epoch`` (None in training by
            iterations), ``time`` (seconds per iteration), ``data_time``, ``lr``, losses and so on.
        val: One dict per validation, in the order of ``iter``: ``epoch`` (likewise) and the metrics.
    """

    name: str
    train: list[dict[str, Any]] = field(default_factory=list)
    val: list[dict[str, Any]] = field(default_factory=list)

    def logged(self) -> list[str]:
        """Keys that can be drawn: losses and metrics, in the order in which they were logged."""
        rows = [*self.train, *self.val]
        return list(dict.fromkeys(key for row in rows for key in row if key not in _BOOKKEEPING)) + ['lr']

    def curve(self, key: str) -> dict[str, tuple[list[float], list[float]]]:
        """Returns the iterations and values of a key in ``train`` and in ``val``, if it was logged there."""
        found = {}
        for split, rows in (('train', self.train), ('val', self.val)):
            points = [(row['iter'], row[key]) for row in rows if isinstance(row.get(key), (int, float))]
            if points:
                found[split] = ([x for x, _ in points], [y for _, y in points])
        return found


def read_log(path: str | Path) -> Log:
    """Reads what a run logged.

    Args:
        path: A work dir, whose restarts are joined: iterations that ran twice count as they ran last. Or a file,
            ``vis_data/scalars.json`` or ``vis_data/TIME.json``.

    Raises:
        MmavError: There is no such path, it has no log, or a file is not a log.
    """
    path = Path(path).expanduser()
    if path.is_file():
        files, name = [path], _name_of(path)
    elif path.is_dir():
        # the folders of restarts are named by the time of their start
        files = sorted({*path.glob(f'*/vis_data/{SCALARS}'), *path.glob(f'vis_data/{SCALARS}'), *path.glob(SCALARS)})
        name = path.resolve().name
    else:
        raise MmavError(f"no log '{path}': give the work dir of a training, or a .json file in its vis_data")
    log = Log(name)
    for file in files:
        _join(log, *_read_file(file))
    if not log.train and not log.val:
        raise MmavError(f"'{path}' holds no log of a training: give a folder that has */vis_data/{SCALARS}")
    return log


def _name_of(file: Path) -> str:
    parts = file.resolve().parts
    # work_dir/TIME/vis_data/scalars.json
    return parts[-4] if len(parts) > 4 and parts[-2] == 'vis_data' else file.stem


def _read_file(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    train: list[dict[str, Any]] = []
    val: list[dict[str, Any]] = []
    place: list[int | None] = []
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # a kill cut it off
                break
            raise MmavError(f"'{file}' is not a log of MMEngine: line {number} is not JSON") from error
        if not isinstance(row, dict) or 'step' not in row:
            raise MmavError(f"'{file}' is not a log of MMEngine: line {number} has no 'step'")
        if 'iter' in row:
            train.append({'epoch': None, **row})
        else:
            val.append(row)
            place.append(train[-1]['iter'] if train else None)
    # the step of a validation is its epoch, or its iteration in training by iterations
    by_epoch = any(row['epoch'] is not None for row in train) or not train
    places = zip(val, place, strict=True)
    return train, [
        dict(row, epoch=row['step'], iter=at) if by_epoch else dict(row, epoch=None, iter=max(row['step'], at or 0))
        for row, at in places
    ]


def _join(log: Log, train: Sequence[dict[str, Any]], val: Sequence[dict[str, Any]]) -> None:
    """Adds a restart: iterations that it repeats replace the earlier ones."""
    first_iter = train[0]['iter'] if train else math.inf
    first_epoch = val[0]['epoch'] if val and val[0]['epoch'] is not None else math.inf
    log.train = [row for row in log.train if row['iter'] < first_iter]
    log.val = [row for row in log.val if row['iter'] < first_iter and (row['epoch'] or 0) < first_epoch]
    begun = log.train[-1]['iter'] if log.train else 0
    log.train += train
    log.val += [{**row, 'iter': begun if row['iter'] is None else row['iter']} for row in val]


def summarise(log: Log) -> dict[str, Any]:
    """Returns the figures of a run.

    Returns:
        ``iterations``, ``epochs`` (None in a training by iterations); ``hours`` of training, without validation;
        ``time`` and ``data_share``, the mean seconds of an iteration and the share of them spent waiting for data;
        ``clips_per_s`` and ``memory`` (MB, peak) where they were logged; ``best``, metric -> ``value`` and ``epoch``
        or ``iter``; ``last_loss``.
    """
    spans = _spans(log.train)
    weights = sum(span for span, _ in spans) or 1
    figures: dict[str, Any] = dict(name=log.name, iterations=log.train[-1]['iter'] if log.train else 0)
    figures['epochs'] = log.train[-1]['epoch'] if log.train else max((row['epoch'] for row in log.val), default=0)
    time = sum(span * row['time'] for span, row in spans if 'time' in row)
    data = sum(span * row['data_time'] for span, row in spans if 'data_time' in row)
    figures['hours'] = time / 3600
    figures['time'], figures['data_share'] = time / weights, data / time if time else 0.0
    rates = [(span, row['clips_per_s']) for span, row in spans if row.get('clips_per_s')]
    if rates:
        # clips over seconds, so the mean of seconds a clip
        figures['clips_per_s'] = sum(span for span, _ in rates) / sum(span / rate for span, rate in rates)
    memory = [row['memory'] for row in log.train if 'memory' in row]
    if memory:
        figures['memory'] = max(memory)
    if log.train and 'loss' in log.train[-1]:
        figures['last_loss'] = log.train[-1]['loss']
    figures['best'] = {key: _best(log.val, key) for key in _metrics(log.val)}
    return figures


def _spans(train: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """The lines of the training log, each with the number of iterations that it averages over."""
    before = [0, *(row['iter'] for row in train)]
    return [(row['iter'] - start, row) for start, row in zip(before, train, strict=False)]


def _metrics(val: Iterable[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for row in val for key, value in row.items() if isinstance(value, (int, float)))
    return [key for key in keys if key not in _BOOKKEEPING and key != 'broken']


def _best(val: Iterable[Mapping[str, Any]], key: str) -> dict[str, float]:
    less = any(word in key for word in _LESS_IS_BETTER)
    rows = [row for row in val if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])]
    best = (min if less else max)(rows, key=lambda row: row[key], default=dict(epoch=0))
    when = 'iter' if best['epoch'] is None else 'epoch'
    return {'value': best.get(key, math.nan), when: best[when]}


def table(logs: Sequence[Log]) -> str:
    """Returns the figures of runs as a table in Markdown, one column per run."""
    columns = [summarise(log) for log in logs]
    rows: list[tuple[str, list[str]]] = [
        ('epochs', ['' if c['epochs'] is None else str(c['epochs']) for c in columns]),
        ('iterations', [str(c['iterations']) for c in columns]),
        ('training time', [_duration(c['hours']) for c in columns]),
        ('time of an iteration', [f'{c["time"]:.4g} s' for c in columns]),
        ('share of waiting for data', [f'{c["data_share"]:.1%}' for c in columns]),
        ('clips/s', [f'{c["clips_per_s"]:.1f}' if 'clips_per_s' in c else '' for c in columns]),
        ('peak GPU memory', [f'{c["memory"]} MB' if 'memory' in c else '' for c in columns]),
        ('last loss', [f'{c["last_loss"]:.4f}' if 'last_loss' in c else '' for c in columns]),
    ]
    for key in dict.fromkeys(key for c in columns for key in c['best']):
        cells = [c['best'].get(key) for c in columns]
        rows.append((f'best {key}', [f'{cell["value"]:.4f} ({_when(cell)})' if cell else '' for cell in cells]))
    rows = [(title, cells) for title, cells in rows if any(cells)]
    lines = [['', *(log.name for log in logs)], *([title, *cells] for title, cells in rows)]
    return markdown_table(lines, padded=True)


def _when(best: Mapping[str, Any]) -> str:
    return f'epoch {best["epoch"]}' if 'epoch' in best else f'iteration {best["iter"]}'


def _duration(hours: float) -> str:
    """Hours and minutes, or minutes and seconds.

    >>> _duration(26.5), _duration(0.05)
    ('26 h 30 min', '3 min 0 s')
    """
    seconds = round(hours * 3600)
    if seconds >= 3600:
        return f'{seconds // 3600} h {seconds % 3600 // 60} min'
    return f'{seconds // 60} min {seconds % 60} s'


def check_keys(logs: Sequence[Log], keys: Sequence[str]) -> None:
    """Checks that at least one run logged each key.

    Raises:
        MmavError: One was not.
    """
    known = list(dict.fromkeys(key for log in logs for key in log.logged()))
    for key in keys:
        if not any(log.curve(key) for log in logs):
            raise MmavError(f'--keys {key}: was not logged{did_you_mean(key, known)}; there are {", ".join(known)}')


def default_keys(logs: Sequence[Log]) -> list[str]:
    """The loss and the validation metrics that were logged."""
    keys = ['loss', *(key for log in logs for key in _metrics(log.val))]
    return [key for key in dict.fromkeys(keys) if any(log.curve(key) for log in logs)]


def draw(logs: Sequence[Log], keys: Sequence[str], path: str | Path) -> None:
    """Draws each key and the learning rate over the iterations, one colour per run; writes a picture.

    Training values are noisy: they are faint, behind their running mean. Validation values are thicker, with dots.

    Raises:
        MmavError: The file cannot be written, or its suffix is not that of a picture.
    """
    from matplotlib.figure import Figure

    from mmav.visualization.figures import save_figure

    panels = list(dict.fromkeys([*keys, *(['lr'] if any(log.curve('lr') for log in logs) else [])]))
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    end = max(row['iter'] for log in logs for row in [*log.train, *log.val])
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * rows + 0.5), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, key in zip(grid, panels, strict=False):
        both = any(len(log.curve(key)) == 2 for log in logs)
        for number, log in enumerate(logs):
            # runs often share their schedule: later ones are drawn on top, thinner
            width = 1.2 if key != 'lr' else 1.2 + 1.5 * (len(logs) - 1 - number)
            _draw_curve(axes, log.curve(key), _COLOURS[number % len(_COLOURS)], width, noisy=key != 'lr')
        axes.set_title(key + (' (thinner: training, with dots: validation)' if both else ''), fontsize=10)
        axes.set_xlabel('iteration', fontsize=9)
        axes.set_xlim(0, 1.03 * end)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    lines = [grid[0].plot([], [], color=_COLOURS[i % len(_COLOURS)], linewidth=2)[0] for i in range(len(logs))]
    figure.legend(lines, [log.name for log in logs], loc='outside lower center', ncols=min(len(logs), 4), frameon=False)
    save_figure(figure, path, dpi=130)


def _draw_curve(
    axes: Any, curve: Mapping[str, tuple[list[float], list[float]]], colour: str, width: float, *, noisy: bool
) -> None:
    if 'train' in curve:
        x, y = curve['train']
        if noisy and (window := len(y) // 20) > 1:
            axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.3)
            y = _running_mean(y, window)
        axes.plot(x, y, color=colour, linewidth=width, marker='.' if len(x) == 1 else None)
    if 'val' in curve:
        axes.plot(*curve['val'], color=colour, linewidth=1.8, marker='o', markersize=3.5)


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last values, fewer at the beginning.

    >>> _running_mean([1.0, 2.0, 4.0], 2)
    [1.0, 1.5, 3.0]
    """
    starts = [max(end - window, 0) for end in range(1, len(values) + 1)]
    return [sum(values[start : end + 1]) / (end + 1 - start) for end, start in enumerate(starts)]
