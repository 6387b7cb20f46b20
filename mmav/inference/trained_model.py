"""A trained model from a config and a checkpoint, with the names of its classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from mmav.adapting import noted_grids
from mmav.class_names import Names, read_names, trained_with
from mmav.engine.class_heads import check_widths, class_heads, match_classes
from mmav.engine.loading import load_weights
from mmav.engine.small_checkpoints import complete
from mmav.errors import ConfigError
from mmav.evaluation.thresholds import read_thresholds
from mmav.joined_classes import names_in_config
from mmav.models.av_classifier import AVClassifier
from mmav.registry import MODELS


def find_classes(given: Any, meta: Mapping[str, Any], dataset: Mapping[str, Any]) -> Names | None:
    """Finds the names of the classes.

    Args:
        given: What the user gives: names, a file with one a line, part of the label -> one of these; or None.
        meta: The ``meta`` of a checkpoint, in which training notes the names that it had.
        dataset: The config's dataset, wrapped or not; its list, of joined ones that of the whole, is used where there
            are no others, and its file may be missing.

    Returns:
        Part of the label -> names, or None.

    Raises:
        ManifestError: A file that the user gives is missing or wrong.
    """
    if given is not None:
        return read_names(given)
    noted = trained_with(dict(meta=meta))
    if noted is not None:
        return noted
    is_wrapper = 'dataset' in dataset or 'datasets' in dataset
    return names_in_config(dataset if is_wrapper else {'classes': 'classes.txt', **dataset})


def build_model(
    config: Mapping[str, Any], checkpoint: Mapping[str, Any] | None, source: str, *, names: Names | None
) -> nn.Module:
    """Builds a model for inference.

    Args:
        config: The model's config.
        checkpoint: Content of its checkpoint; None for random weights.
        source: File of the checkpoint, for messages.
        names: The names that its classes will have, see :func:`find_classes`.

    Raises:
        ConfigError: The model has another number of classes than the checkpoint or the names.
        CheckpointError: The weights do not fit the model, or a name is that of another class of the checkpoint.
    """
    kind = config.get('type')
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    if inspect.isclass(kind) and issubclass(kind, AVClassifier):  # its auxiliary parts are for training
        config = {name: value for name, value in config.items() if name != 'auxiliary'}
    model = MODELS.build(config)
    trained = trained_with(checkpoint or {})
    widths = [width._replace(where='the model') for width in class_heads(model)]
    if trained is not None:
        check_widths(widths, trained, f"'{source}'", remedy='give the config that the checkpoint was trained with')
    if names is not None:
        check_widths(widths, names, 'the class list', remedy='give the list that it was trained with as classes')
    if checkpoint is not None:
        complete(checkpoint, model, source)
        weights = match_classes(checkpoint, model, names, source=source, who='the class list', purpose='infer')
        load_weights(model, weights, source, strict=True, grids=noted_grids(checkpoint))
    return model.eval()


def label_thresholds(model: Any, given: Any, names: Names | None) -> dict[str, np.ndarray] | None:
    """From which probability on a clip has a label, for a model that gives several.

    Args:
        model: The model; one without a ``head`` gives one label.
        given: See :func:`mmav.evaluation.thresholds.read_thresholds`; None for 0.5, where a label is as likely as not.
        names: Names of the classes.

    Returns:
        Part of the label -> thresholds (C,); None for a model that gives one label.

    Raises:
        ConfigError: Thresholds are given, and the model gives one label.
        MmavError: They are no thresholds, or those of other classes.
    """
    parts = getattr(getattr(model, 'head', None), 'parts', {})
    if not any(getattr(head, 'multi_label', False) for head in parts.values()):
        if given is not None:
            raise ConfigError('thresholds are for models that give several labels; this one gives one: leave them out')
        return None
    found = read_thresholds(0.5 if given is None else given)
    return {
        part: np.broadcast_to(found.of((names or {}).get(part)), (head.num_classes,)) for part, head in parts.items()
    }


def find_device(name: str | None) -> torch.device:
    """The device of that name; a GPU where there is one if None.

    Raises:
        ConfigError: There is none of that name.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"no device '{name}' here: {str(error).splitlines()[0]}") from error
