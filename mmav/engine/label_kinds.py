"""One label a clip, or any number: heads, datasets, metrics and checkpoints have to mean the same."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from mmav.class_names import holders
from mmav.errors import CheckpointError, ConfigError
from mmav.registry import DATASETS, METRICS, MODELS

# in the meta of checkpoints: whether the model takes any number of labels
MULTI_LABEL = 'multi_label'
_TOLD = {True: 'any number of labels a clip (multi_label=True)', False: 'one label a clip'}
_HEAD = {True: "dict(type='MultiLabelHead', ...)", False: "dict(type='ClsHead', ...)"}
_METRIC = {True: 'MultiLabelMetric', False: 'Accuracy'}


def head_kind(model: Any) -> bool | None:
    """Whether a model's head takes any number of labels; None where it does not say."""
    parts = getattr(getattr(model, 'head', None), 'parts', None)
    kinds = [getattr(head, 'multi_label', None) for head in (parts or {}).values()]
    return next((kind for kind in kinds if kind is not None), None)


def checkpoint_kind(checkpoint: Mapping[str, Any]) -> bool | None:
    """Whether a checkpoint was trained with any number of labels a clip; None where it does not say."""
    meta = checkpoint.get('meta')
    kind = meta.get(MULTI_LABEL) if isinstance(meta, Mapping) else None
    return kind if isinstance(kind, bool) else None


def check_config_kinds(cfg: Any, loaders: Sequence[str]) -> None:
    """Compares the head of a config with its datasets and metrics, before anything is built.

    Args:
        cfg: The config.
        loaders: The dataloaders that will be used.

    Raises:
        ConfigError: One is for one label a clip, the other for any number; or a contrastive loss weighs pairs of label
            sets that there are not.
    """
    model = cfg.get('model')
    head = model.get('head') if isinstance(model, Mapping) else None
    kind = _stated(head, MODELS)
    contrast = model.get('contrast') if isinstance(model, Mapping) else None
    for loss in (contrast.get('losses') if isinstance(contrast, Mapping) else None) or ():
        if kind is False and isinstance(loss, Mapping) and loss.get('pair_weight') is not None:
            raise ConfigError(
                f'model.contrast: pair_weight={loss["pair_weight"]!r} of {loss.get("type")} has no effect on clips '
                'with one label: leave it out, or give the model a MultiLabelHead'
            )
    for loader in loaders:
        for dataset in _configs_within((cfg.get(loader) or {}).get('dataset')):
            of_data = _dataset_kind(dataset)
            if kind is not None and of_data is not None:
                _compare(of_data, kind, f'{loader}.dataset', f'model.head ({_named(head)})')
            evaluator = f'{loader.removesuffix("_dataloader")}_evaluator'
            if of_data is not None:
                named = ((str(each.get('type')), _stated(each, METRICS)) for each in _metrics(cfg.get(evaluator)))
                _check_metrics(named, of_data, evaluator)


def check_kinds(model: nn.Module, loops: Mapping[str, Any]) -> None:
    """Compares a model's head with the datasets and metrics of loops.

    Args:
        model: The model, not wrapped for distribution.
        loops: Name of the dataloader -> loop.

    Raises:
        ConfigError: One is for one label a clip, the other for any number.
    """
    kind = head_kind(model)
    for name, loop in loops.items():
        for dataset in holders(loop.dataloader.dataset, 'multi_label'):
            if not getattr(dataset, 'labelled', True):
                continue
            if kind is not None:
                _compare(dataset.multi_label, kind, f'{name}.dataset', f'model.head ({type(model.head).__name__})')
            metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
            named = ((type(each).__name__, getattr(each, 'multi_label', None)) for each in metrics)
            _check_metrics(named, dataset.multi_label, name)


def check_checkpoint_kind(checkpoint: Mapping[str, Any], model: nn.Module, source: str) -> None:
    """Fails where a checkpoint was trained with the other kind of labels than a model has, whose scores mean others.

    A checkpoint that does not say it, such as public weights, passes.

    Args:
        checkpoint: The content of its file.
        model: The model, not wrapped for distribution.
        source: File name for messages.

    Raises:
        CheckpointError: It was.
    """
    kind, trained = head_kind(model), checkpoint_kind(checkpoint)
    if kind is not None and trained is not None and trained != kind:
        raise CheckpointError(
            f"'{source}' was trained with {_TOLD[trained]}, the model has a {type(model.head).__name__}, for "
            f'{_TOLD[kind]}: give the config that it was trained with, or train from it with load_from'
        )


def _compare(of_data: bool, kind: bool, dataset: str, head: str) -> None:
    if of_data != kind:
        raise ConfigError(
            f'{dataset} has {_TOLD[of_data]}, but {head} is for {_TOLD[kind]}: give the dataset multi_label={kind}, or '
            f'the model head={_HEAD[of_data]}'
        )


def _check_metrics(metrics: Iterable[tuple[str, bool | None]], of_data: bool, where: str) -> None:
    for name, kind in metrics:
        if kind is not None and kind != of_data:
            raise ConfigError(
                f'{where}: {name} is for {_TOLD[kind]}, but the dataset has {_TOLD[of_data]}: measure '
                f'{_METRIC[of_data]}'
            )


def _named(head: Any) -> str:
    kind = head['type']
    return kind if isinstance(kind, str) else kind.__name__


def _stated(part: Any, registry: Any) -> bool | None:
    """What the class of a part's config says of itself."""
    kind = part.get('type') if isinstance(part, Mapping) else None
    kind = registry.get(kind) if isinstance(kind, str) else kind
    stated = getattr(kind, 'multi_label', None)
    return stated if isinstance(stated, bool) else None


def _dataset_kind(dataset: Mapping[str, Any]) -> bool | None:
    """Whether a dataset's config has any number of labels; None where only its files say it, or nothing does."""
    if dataset.get('multi_label') is not None:
        return bool(dataset['multi_label'])
    kind = dataset.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    known = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    default = known['multi_label'].default if 'multi_label' in known else None
    return default if isinstance(default, bool) and dataset.get('labelled', True) else None


def _configs_within(value: Any) -> Iterator[Mapping[str, Any]]:
    """The configs of datasets that hold clips, wrapped ones included."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _configs_within(item)
    elif isinstance(value, Mapping):
        inner = [value[key] for key in ('dataset', 'datasets') if value.get(key)]
        if not inner:
            yield value
        for item in inner:
            yield from _configs_within(item)


def _metrics(evaluator: Any) -> list[Mapping[str, Any]]:
    given = evaluator.get('metrics', evaluator) if isinstance(evaluator, Mapping) else evaluator
    given = [given] if isinstance(given, Mapping) else given or []
    return [each for each in given if isinstance(each, Mapping)]
