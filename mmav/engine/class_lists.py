"""The class lists of a run's loops: the same in all, as long as the head is wide, noted in its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmav.engine.class_heads import WARNING, check_widths, class_heads, widths_of
from mmav.engine.class_names import Names, classes_of, tell_difference
from mmav.errors import ConfigError

TRAIN = 'train_dataloader'


def check_class_lists(model: nn.Module, loops: Mapping[str, Any], known: Names | None = None) -> Names | None:
    """Fails before the first batch where class lists and heads, or class lists, do not go together.

    Metrics learn the list of a data set whose wrapper has not handed it on, and what they cannot tell is logged.

    Args:
        model: The model, not wrapped for distribution.
        loops: Name of the dataloader -> loop; the first one's list decides what the model's outputs mean.
        known: The list that the model works with already, of a run that has trained.

    Returns:
        The list; ``known`` where no data set has one.

    Raises:
        ConfigError: A head, or what mixes the clips, counts with another number of classes, or two lists differ.
    """
    first, first_name = known, 'the run before'
    for name, loop in loops.items():
        names = classes_of(loop.dataloader.dataset, name)
        if names is None:
            continue
        check_widths(widths_of(model) if name == TRAIN else class_heads(model), names, f'the class list of {name}')
        if first is None:
            first, first_name = names, name
        elif first != names:
            told = tell_difference(first, names, (first_name, name))
            raise ConfigError(f'{first_name} and {name} have different class lists ({told}): give both the same')
        evaluator = getattr(loop, 'evaluator', None)
        if evaluator is not None:
            if not (evaluator.dataset_meta or {}).get('classes'):
                evaluator.dataset_meta = {**(evaluator.dataset_meta or {}), 'classes': as_given(names)}
            _check_topk(evaluator.metrics, names, name)
    return first


def as_given(names: Names) -> Any:
    """A list of one label without its part, as data sets have it."""
    return names['label'] if names.keys() == {'label'} else dict(names)


def note_classes(checkpoint: Mapping[str, Any], names: Names | None) -> None:
    """Notes the class list in a checkpoint that is written, where MMEngine has not: a wrapper may hide it from it."""
    meta = checkpoint['meta']
    if names is not None and not (meta.get('dataset_meta') or {}).get('classes'):
        meta['dataset_meta'] = {**(meta.get('dataset_meta') or {}), 'classes': as_given(names)}


def _check_topk(metrics: Iterable[Any], names: Names, who: str) -> None:
    """Says which top-k is always right."""
    least = min(map(len, names.values()))
    for metric in metrics:
        idle = [k for k in getattr(metric, 'topk', ()) if k >= least]
        if idle:
            print_log(
                f'{type(metric).__name__} of {who}: of {least} classes, top-{idle[0]} is always right: it tells nothing',
                'current',
                level=WARNING,
            )
