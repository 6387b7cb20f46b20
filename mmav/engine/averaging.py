"""The mean of several states of a model's weights: of files, or of a running training."""

from __future__ import annotations

import ast
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmav.adapting import noted_grids
from mmav.checkpoints import BASE, NAMES_SHOWN, describe_mismatch, load_checkpoint_file, to_plain
from mmav.class_names import Names
from mmav.engine.class_lists import as_given
from mmav.engine.class_merge import alike, alike_kind
from mmav.engine.label_kinds import MULTI_LABEL
from mmav.errors import CheckpointError
from mmav.outputs import same_file, write_output

# what the meta of an averaged checkpoint lists
AVERAGED = 'averaged'
# keys of a model's config that change nothing once it is trained
_OF_TRAINING = (
    'auxiliary',
    'batch_augment',
    'contrast',
    'dropout',
    'drop_path_rate',
    'init_cfg',
    'log_mel',  # where spectrograms are computed
    'loss',
    'pretrained',
    'random_erasing',
    'spec_augment',
    'token_mixup',
)


class MeanOfWeights:
    """The mean of states that are added one after the other, summed in float64.

    Whole numbers, such as BatchNorm's count of batches, have no mean: the last state's are kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, Tensor] = {}
        self._last: dict[str, Tensor] = {}
        self._dtypes: dict[str, torch.dtype] = {}

    def add(self, state: Mapping[str, Tensor]) -> None:
        """Adds a state with the names and shapes of those before it."""
        for name, value in state.items():
            value = value.detach().cpu()
            if not value.is_floating_point():
                self._last[name] = value.clone()
            elif name in self._sums:
                self._sums[name] += value
            else:
                self._sums[name] = value.to(torch.float64, copy=True)
                self._dtypes[name] = value.dtype
        self.count += 1

    def mean(self) -> dict[str, Tensor]:
        """The mean, in the types of the weights."""
        means = {name: (value / self.count).to(self._dtypes[name]) for name, value in self._sums.items()}
        return {**means, **self._last}

    def state_dict(self, left_out: Collection[str] = ()) -> dict[str, Any]:
        """What has been added so far, for a checkpoint, but for weights that were the same in all states."""
        sums = {name: value for name, value in self._sums.items() if name not in left_out}
        dtypes = {name: self._dtypes[name] for name in sums}
        return dict(count=self.count, sums=sums, last=dict(self._last), dtypes=dtypes)

    def load_state_dict(self, state: Mapping[str, Any], weights: Mapping[str, Tensor] | None = None) -> None:
        """Continues from what :meth:`state_dict` returned; ``weights`` has those that it left out."""
        self.count = state['count']
        self._sums, self._last = dict(state['sums']), dict(state['last'])
        self._dtypes = dict(state['dtypes'])
        for name, value in (weights or {}).items():
            if value.is_floating_point() and name not in self._sums:
                # float64 holds the sum of so few float32 exactly, in whatever order it is taken
                self._sums[name], self._dtypes[name] = value.cpu().double() * self.count, value.dtype


def average_checkpoints(paths: Iterable[str | Path]) -> dict[str, Any]:
    """Averages the weights of checkpoints of one model (YuanGongND/ast, src/traintest.py, ``validate_wa``).

    Floating-point weights and buffers are averaged in float64; whole numbers are those of the checkpoint that trained
    longest. Of checkpoints that leave frozen weights of a file out, all must leave out the same. What acts in training
    only, such as losses and dropout, may differ, so models that were trained differently from the same start can be
    averaged, too (Wortsman et al. 2022).

    Args:
        paths: Two or more files.

    Returns:
        A checkpoint to test or to load, without optimizer; ``meta['averaged']`` lists the files.

    Raises:
        CheckpointError: A file is missing or given twice, has weights that are not finite, or the models, classes or
            weights differ.
    """
    given = [Path(path) for path in paths]
    for index, path in enumerate(given):
        if any(same_file(path, other) for other in given[:index]):
            raise CheckpointError(f"'{path}' is given twice: give each checkpoint once")
    mean, longest = MeanOfWeights(), -1
    first: dict[str, Any] = {}
    counters: dict[str, Tensor] = {}
    names: Names | None = None
    several: bool | None = None
    files: list[dict[str, Any]] = []
    for path in given:
        checkpoint = load_checkpoint_file(path)
        checkpoint.pop('optimizer', None)
        weights, names = alike(checkpoint, names, str(path))
        several = alike_kind(checkpoint, several, str(path))
        state = {name.removeprefix('module.'): value for name, value in weights.items() if isinstance(value, Tensor)}
        meta = checkpoint.get('meta') or {}
        facts = dict(path=path, state=state, meta=meta, grids=noted_grids(checkpoint), model=_model_of(meta))
        if first:
            _require_alike(first, facts)
        else:
            first = {**facts, 'state': {name: (value.shape, value.dtype) for name, value in state.items()}}
        broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
        if broken:
            shown = ', '.join(broken[:NAMES_SHOWN]) + (', ...' if len(broken) > NAMES_SHOWN else '')
            raise CheckpointError(
                f"'{path}' has weights that are not finite ({shown}), and so would their mean be: leave it out"
            )
        mean.add(state)
        if (steps := meta.get('iter') or 0) >= longest:
            longest, last = steps, meta
            counters = {name: value for name, value in state.items() if not value.is_floating_point()}
        files.append(dict(file=path.name, epoch=meta.get('epoch'), iter=meta.get('iter')))
    if len(files) < 2:
        raise CheckpointError('one checkpoint is its own average: give two or more')
    kept = {key: last[key] for key in ('epoch', 'iter', 'cfg', 'mmengine_version', MULTI_LABEL, BASE) if key in last}
    if names is not None:
        kept['dataset_meta'] = dict(classes=as_given(names))
    kept |= {'position_grids': first['grids'], AVERAGED: files}
    return to_plain(dict(meta=kept, state_dict={**mean.mean(), **counters}))


def write_average(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all, see :func:`mmav.outputs.write_output`."""
    buffer = io.BytesIO()
    torch.save(to_plain(checkpoint), buffer)
    write_output(path, buffer.getvalue())


def _require_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuses the average of different models."""
    one, two = first['state'], other['state']
    shapes = [name for name in one.keys() & two.keys() if (two[name].shape, two[name].dtype) != one[name]]
    told = describe_mismatch(sorted(one.keys() - two.keys()), sorted(two.keys() - one.keys()), sorted(shapes))
    where = f"'{other['path']}' cannot be averaged with '{first['path']}'"
    if told:
        raise CheckpointError(f'{where}: {told}')
    for name, grid in first['grids'].items():
        if tuple(other['grids'].get(name, grid)) != tuple(grid):
            raise CheckpointError(f'{where}: its {name} is another grid')
    bases = [(facts['meta'].get(BASE) or {}).get('checksums') for facts in (first, other)]
    if bases[0] != bases[1]:
        raise CheckpointError(
            f'{where}: they leave out different frozen weights; make both whole with `mmav merge-lora`'
        )
    models = first['model'], other['model']
    difference = None if None in models else next(_differences(*models, 'model'), None)
    if difference:
        raise CheckpointError(f'{where}: they were trained with different models ({difference})')


def _model_of(meta: Mapping[str, Any]) -> Any:
    """The model in the text of a checkpoint's config, which is not run; None where there is none."""
    try:
        statements = ast.parse(meta.get('cfg') or '').body
    except (SyntaxError, TypeError, ValueError):
        return None
    for statement in statements:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], 'id', None) == 'model':
            return _plain(statement.value)
    return None


def _plain(node: ast.expr) -> Any:
    """Values of a config as MMEngine writes it: literals and calls of ``dict``."""
    if isinstance(node, ast.Call):
        return {word.arg: _plain(word.value) for word in node.keywords}
    if isinstance(node, ast.Dict):
        return {_plain(key): _plain(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_plain(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _differences(one: Any, two: Any, where: str) -> Iterator[str]:
    """Yields how two configs differ, but for what acts in training only."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in dict.fromkeys([*one, *two]):
            if key not in _OF_TRAINING:
                yield from _differences(one.get(key), two.get(key), f'{where}.{key}')
    elif one != two:
        yield f'{where}: {one} and {two}'
