"""The losses of a training step: the head's, those that compare embeddings, and those of auxiliary parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import ModuleDict
from torch import Tensor, nn

from mmav.config.signatures import call_signature
from mmav.errors import ConfigError
from mmav.models.auxiliary.batch import TrainingBatch
from mmav.models.views import masks_of_views
from mmav.registry import MODELS

# names in checkpoints of what only training needs begin with it
AUXILIARY = 'auxiliary.'


def build_auxiliary(
    auxiliary: Mapping[str, dict[str, Any] | None] | None,
    *,
    widths: Mapping[str, int],
    neck: Any,
    head: Any,
    head_cfg: Mapping[str, Any],
) -> ModuleDict:
    """Builds the auxiliary parts of a model, without advancing the random generator.

    A part is a registered module with ``loss(batch) -> name -> Tensor``, of a
    :class:`~mmav.models.auxiliary.TrainingBatch`; names that contain 'loss' are summed into the training loss, others
    are logged. Of ``in_dims``, ``stream_dims`` and ``head`` it gets those that its constructor takes and that its
    config leaves out.

    Args:
        auxiliary: Name -> config; None removes a part of a parent config.
        widths: Modality name -> width of its tokens: ``in_dims``.
        neck: The model's neck; its ``out_dims``, stream name -> width, are ``stream_dims``.
        head: The model's head.
        head_cfg: Its config without widths: ``head``.

    Raises:
        ConfigError: A part has no ``loss``; or it tells other classes apart than the head, or means another kind of
            labels.
    """
    filled_in = dict(in_dims=dict(widths), stream_dims=dict(neck.out_dims), head=dict(head_cfg))
    parts = {}
    # the other parts begin with the same weights with and without auxiliary parts
    with torch.random.fork_rng(devices=()):
        for name, cfg in (auxiliary or {}).items():
            if cfg is None:
                continue
            kind = MODELS.get(cfg['type']) if isinstance(cfg.get('type'), str) else cfg.get('type')
            takes = call_signature(kind).names if kind is not None else []
            part = MODELS.build({**{k: v for k, v in filled_in.items() if k in takes}, **cfg})
            if not callable(getattr(part, 'loss', None)):
                raise ConfigError(
                    f'model.auxiliary.{name}: {type(part).__name__} has no loss(batch): see mmav.models.UnimodalHeads'
                )
            _compare(name, part, head)
            parts[name] = part
    return ModuleDict(parts)


def _compare(name: str, part: nn.Module, head: Any) -> None:
    """Fails if the heads in an auxiliary part learn something else than the model's."""
    for own in _heads_in(part):
        for label, each in own.parts.items():
            for key in ('multi_label', 'num_classes'):
                wanted = getattr(head.parts.get(label), key, None)
                if getattr(each, key, wanted) != wanted:
                    raise ConfigError(
                        f'model.auxiliary.{name}: its {type(each).__name__} of {label} has {key}={getattr(each, key)}, '
                        f'the model.head {key}={wanted}: leave its head out, which is then that of the model'
                    )


def _heads_in(part: nn.Module) -> Iterator[Any]:
    for each in getattr(part, 'heads', {}).values():
        if hasattr(each, 'parts'):
            yield each


def is_for_training(name: str, model: nn.Module) -> bool:
    """Whether a weight belongs to an auxiliary part, which a trained model does without.

    Args:
        name: Its name in a checkpoint.
        model: The model. Of its auxiliary parts those with ``in_testing`` are needed in testing, too.
    """
    if not name.startswith(AUXILIARY):
        return False
    parts = getattr(model, AUXILIARY[:-1], {})
    part = name.split('.')[1]
    return part not in parts or not getattr(parts[part], 'in_testing', False)


def training_losses(
    model: Any,
    inputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    clip_targets: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None,
    *,
    share: Tensor | None = None,
) -> dict[str, Tensor]:
    """All losses of a model, and what it logs.

    Args:
        model: An :class:`~mmav.models.AVClassifier`. Its ``observers``, such as hooks add them, see the
            :class:`~mmav.models.TrainingBatch` and the losses, and return what else is to be logged; its
            ``loss_factors``, name -> factor, are then applied.
        inputs: Modality name -> (B, V, C, *size).
        targets: Part of the label -> targets of all B * V views.
        clip_targets: The same of the B clips.
        masks: Modality name -> (B,), True where the clip has it; None if every clip has every modality.
        share: Of each clip, (), where ``token_mixup`` mixes the batch; None where it does not.

    Returns:
        Named losses.

    Raises:
        ConfigError: Two parts give a value of the same name.
    """
    encoded, views = model.encode(inputs)
    view_masks = masks_of_views(masks, views)
    tokens, before_mixup = encoded, None
    if share is not None:
        classes = {part: head.num_classes for part, head in model.head.parts.items()}
        before_mixup = encoded, view_masks
        tokens, targets, view_masks = model.token_mixup(
            encoded, targets, view_masks, share, num_classes=classes, views=views
        )
    streams = model.neck(tokens, view_masks)
    found = dict(model.head.loss(streams, targets, view_masks))
    if model.contrast is not None:
        # encode() repeated views of modalities with fewer: here each counts once, as modality -> (B, V_m, D)
        embeddings = {m: t.cls.unflatten(0, (-1, views))[:, :: views // inputs[m].shape[1]] for m, t in encoded.items()}
        several = [part for part, head in model.head.parts.items() if getattr(head, 'multi_label', False)]
        kinds: dict[str, Sequence[str]] = dict(multi_label=several) if several else {}
        found |= model.contrast.loss(embeddings, clip_targets, masks, **kinds)
    batch = TrainingBatch(inputs, tokens, streams, targets, view_masks, views, model.head, before_mixup)
    for name, part in model.auxiliary.items():
        _add(found, part.loss(batch), f'model.auxiliary.{name}')
    for observer in model.observers:
        _add(found, observer(batch, found), type(observer).__name__)
    return {name: value * model.loss_factors.get(name, 1.0) for name, value in found.items()}


def _add(found: dict[str, Tensor], given: Mapping[str, Tensor], who: str) -> None:
    if twice := sorted(found.keys() & given.keys()):
        raise ConfigError(
            f'{who}: {twice[0]} is there already, of another part: give one of them another name, or leave it out'
        )
    found |= given
