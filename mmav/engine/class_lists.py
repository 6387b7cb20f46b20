"""The class lists of a config and of a run's loops: all equal, as long as the head, and stored in checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from logging import WARNING
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmav.class_names import Names, check_joined, classes_of, reordered, tell_difference
from mmav.engine.class_heads import check_names, check_widths, class_heads, of_parts, widths_in_config, widths_of
from mmav.engine.label_kinds import MULTI_LABEL, check_config_kinds, check_kinds, head_kind
from mmav.errors import ConfigError
from mmav.joined_classes import names_in_config
from mmav.structures import as_given

TRAIN, VAL, TEST = 'train_dataloader', 'val_dataloader', 'test_dataloader'


def check_config_lists(cfg: Any, loaders: Sequence[str], trained: Names | None = None, *, source: str = '') -> None:
    """Compares the class lists of a config whose files exist with its model and with each other.

    Args:
        cfg: The config.
        loaders: The dataloaders that will be used.
        trained: The class names of the checkpoint to test; None if unknown.
        source: Its file.

    Raises:
        ConfigError: A list has a different number of names than the model has classes, or the lists of a run differ;
            or the head is for one label a clip and a dataset has any number, or the other way round.
        CheckpointError: A list has other names than the checkpoint.
    """
    check_config_kinds(cfg, loaders)
    widths = list(widths_in_config(cfg.get('model')))
    lists: dict[str, Names] = {}
    for loader in loaders:
        for dataset in _datasets((cfg.get(loader) or {}).get('dataset')):
            try:
                names = names_in_config(dataset)
            except ConfigError as error:
                raise ConfigError(f'{loader}: {error}') from error
            if names is None:
                continue
            check_joined(lists.setdefault(loader, names), names, loader)
            if trained is not None:
                check_names(of_parts(trained, widths), of_parts(names, widths), source=source, who=loader)
            # mixup is for training only
            mine = [width for width in widths if loader == TRAIN or '.data_preprocessor.' not in width.where]
            check_widths(mine, names, f'the class list of {loader}')
    if TRAIN in lists:
        _agree(lists[TRAIN], TRAIN, lists.get(VAL), VAL)
        test = lists.get(TEST, lists[TRAIN])
        if not reordered(lists[TRAIN], test) and test != lists[TRAIN]:
            told = tell_difference(lists[TRAIN], test, (TRAIN, TEST))
            print_log(f'the trained model cannot be tested with this {TEST}: {told}', 'current', level=WARNING)


def _datasets(value: Any) -> Iterator[Mapping[str, Any]]:
    """The configs of datasets that may have a class list, wrapped ones included."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _datasets(item)
    elif isinstance(value, Mapping):
        if 'ann_file' in value or 'classes' in value or value.get('datasets'):
            yield value
        if value.get('datasets'):
            return  # judged as a whole: what it joins may have lists of its own
        yield from _datasets(value.get('dataset'))


def _agree(first: Names, first_name: str, names: Names | None, name: str) -> None:
    if names is not None and first != names:
        told = tell_difference(first, names, (first_name, name))
        raise ConfigError(f'{first_name} and {name} have different class lists ({told}): give both the same')


def check_class_lists(model: nn.Module, loops: Mapping[str, Any], known: Names | None = None) -> Names | None:
    """Fails before the first batch where class lists and heads, or two class lists, do not match.

    Metrics get the list from the dataset itself if its wrapper does not pass it on. Metrics without effect are logged.

    Args:
        model: The model, not wrapped for distribution.
        loops: Name of the dataloader -> loop; the first list decides what the model's outputs mean.
        known: The model's current list, in a run that has already trained.

    Returns:
        The list; ``known`` if no dataset has one.

    Raises:
        ConfigError: A head or batch augmentation has a different number of classes, or two lists differ; or the head is
            for one label a clip and a dataset has any number, or the other way round.
    """
    check_kinds(model, loops)
    first, first_name = known, 'the run before'
    for name, loop in loops.items():
        names = classes_of(loop.dataloader.dataset, name)
        if names is None:
            continue
        check_widths(widths_of(model) if name == TRAIN else class_heads(model), names, f'the class list of {name}')
        if first is None:
            first, first_name = names, name
        _agree(first, first_name, names, name)
        evaluator = getattr(loop, 'evaluator', None)
        if evaluator is not None:
            if not (evaluator.dataset_meta or {}).get('classes'):
                evaluator.dataset_meta = {**(evaluator.dataset_meta or {}), 'classes': as_given(names)}
            _check_metrics(evaluator.metrics, names, name)
    return first


def note_classes(checkpoint: Mapping[str, Any], names: Names | None, model: nn.Module | None = None) -> None:
    """Stores the class list in a checkpoint if MMEngine has not: a dataset wrapper may hide it.

    Also whether clips have any number of labels, where the model's head says so.
    """
    meta, kind = checkpoint['meta'], head_kind(model)
    if names is not None and not (meta.get('dataset_meta') or {}).get('classes'):
        meta['dataset_meta'] = {**(meta.get('dataset_meta') or {}), 'classes': as_given(names)}
    if kind is not None:
        # not in dataset_meta, which MMEngine compares with the dataset's own when it resumes
        meta[MULTI_LABEL] = kind


def _check_metrics(metrics: Iterable[Any], names: Names, who: str) -> None:
    """Logs a top-k that is always right; refuses parts and class indices that do not exist."""
    least = min(map(len, names.values()))
    for metric in metrics:
        kind = type(metric).__name__
        for part in getattr(metric, 'parts', ()):
            if part not in names:
                raise ConfigError(
                    f'{kind} of {who} measures {part}s, but the class list has names of {" and ".join(names)}: '
                    'Accuracy is for one label, ActionAccuracy for a verb and a noun'
                )
        if hasattr(metric, 'check_classes'):
            metric.check_classes(names[metric.part])
        idle = [k for k in getattr(metric, 'topk', ()) if k >= least]
        if idle:
            print_log(
                f'{kind} of {who}: of {least} classes, top-{idle[0]} is always right',
                'current',
                level=WARNING,
            )
        for part, of_part in names.items():
            setting = f'tail_{part}s'
            for index in sorted(getattr(metric, setting, ())):
                if not (index.isdecimal() and int(index) < len(of_part)):
                    raise ConfigError(
                        f'{kind} of {who}: {setting} has {index!r}, which is no index of its {len(of_part)} {part}s, 0 '
                        f'to {len(of_part) - 1}'
                    )
