"""Heads and class lists: one row for each name, in the order of the names.

A checkpoint stores its class names. If a model is loaded with the same names in another order, the rows of its head
(weights and biases, of each stream and part of the label) are reordered, so that labels, metrics, dumps, further
training and new checkpoints agree with the list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from logging import WARNING
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from mmav.class_names import Names, places, reordered, shown, tell_difference, trained_with
from mmav.engine.distributed.fsdp import gathered
from mmav.engine.label_kinds import check_checkpoint_kind
from mmav.errors import CheckpointError, ConfigError
from mmav.models.training_loss import is_for_training
from mmav.registry import MODELS
from mmav.structures import as_parts


class Width(NamedTuple):
    """The number of classes of a part of a model.

    Attributes:
        where: The setting or the module.
        part: Part of the label.
        number: The number.
    """

    where: str
    part: str
    number: int


def class_heads(model: nn.Module) -> list[Width]:
    """The heads of a model: modules outside the backbones that have ``num_classes`` and a ``loss``."""
    found = []
    for name, module in model.named_modules():
        number = getattr(module, 'num_classes', None)
        is_head = callable(getattr(module, 'loss', None)) or name == 'head'
        if name and is_head and type(number) is int and not name.startswith('backbones.'):
            found.append(Width(name, str(getattr(module, 'part', 'label')), number))
    return found


def widths_of(model: nn.Module) -> list[Width]:
    """The heads, and the mixup of a batch, whose labels have as many classes."""
    augment = getattr(getattr(model, 'data_preprocessor', None), 'batch_augment', None)
    mixed = as_parts(getattr(augment, 'num_classes', {}))
    where = 'data_preprocessor.batch_augment'
    return [*class_heads(model), *(Width(where, part, number) for part, number in mixed.items() if type(number) is int)]


def widths_in_config(model: Any, path: str = 'model') -> Iterator[Width]:
    """The numbers of classes in a model's config, outside the backbones."""
    if isinstance(model, (list, tuple)):
        for i, item in enumerate(model):
            yield from widths_in_config(item, f'{path}.{i}')
    if not isinstance(model, Mapping):
        return
    kind = MODELS.get(model['type']) if isinstance(model.get('type'), str) else None
    for key, part in dict(num_classes=str(model.get('part', 'label')), **getattr(kind, 'counts', {})).items():
        for name, number in as_parts(model.get(key)).items():
            where = f'{path}.{key}'
            if type(number) is int:
                yield Width(where, part, number) if name == 'label' else Width(f'{where}.{name}', name, number)
    for key, value in model.items():
        if key not in ('backbones', 'num_classes'):
            yield from widths_in_config(value, f'{path}.{key}')


def check_widths(widths: Sequence[Width], names: Names, who: str, *, remedy: str = '') -> None:
    """Fails if a part of a model has a different number of classes than there are names.

    Args:
        widths: The numbers of classes of the model.
        names: The class list.
        who: Its owner, for messages.
        remedy: What to do; defaults to setting the number.

    Raises:
        ConfigError: With both numbers; or a class is named twice.
    """
    for each in names.values():
        twice = [name for k, name in enumerate(each) if name in each[:k]] if len(set(each)) < len(each) else []
        if twice:
            raise ConfigError(f'{who} names {twice[0]!r} twice: give each class its own name')
    for where, part, number in widths:
        if part not in names:
            raise ConfigError(
                f'{who} has names of {" and ".join(names)}, but {where} tells {part}s apart: give '
                "classes='classes.txt' for one label, classes=dict(verb=..., noun=...) for both, and the model its head"
            )
        if len(names[part]) != number:
            what = 'classes' if part == 'label' else f'{part}s'
            raise ConfigError(
                f'{who} has {len(names[part])} names, but {where} tells {number} apart ({what}: {shown(names[part])}): '
                + (remedy or f'set it to {len(names[part])}, or give the list of the {number}')
            )


def check_names(trained: Names, given: Names, *, source: str, who: str) -> None:
    """Fails if a checkpoint is tested with a class list that has other names than its own; the order does not matter.

    Raises:
        CheckpointError: With the first names that differ.
    """
    if not reordered(trained, given) and trained != given:
        told = tell_difference(trained, given, ('the checkpoint', who))
        raise CheckpointError(
            f"'{source}' was trained with other classes ({told}): test it with the class list that it was trained with"
        )


def of_parts(names: Names, heads: Sequence[Width]) -> Names:
    """The names of the parts that heads learn: a model of verbs alone ignores the nouns."""
    learnt = {head.part for head in heads}
    return {part: each for part, each in names.items() if part in learnt} or names


def match_classes(
    checkpoint: Mapping[str, Any], model: nn.Module, given: Names | None, *, source: str, who: str, purpose: str
) -> Mapping[str, Tensor]:
    """Prepares the weights of a checkpoint for a model that works with a class list.

    If the names are the same in another order, the head's rows are reordered, which is logged. Testing refuses other
    names. Training from such a checkpoint keeps the rows of the names they share and initialises the others, which is
    logged as a warning. Resuming needs the same list, as the optimizer's state belongs to the rows, too. In inference,
    other names rename the classes, which is logged, unless they give a class the name of another one. A checkpoint
    without names is used unchanged.

    Args:
        checkpoint: The content of its file; not changed.
        model: The model, not wrapped for distribution.
        given: The list; None if unknown.
        source: File name for messages.
        who: The owner of the list, for messages.
        purpose: 'test', 'infer', 'begin' (training with ``load_from``) or 'resume'.

    Returns:
        The weights.

    Raises:
        CheckpointError: The names differ, or it is unknown which rows belong to classes; or it was trained with one
            label a clip and the model's head is for any number, or the other way round, unless training begins from it.
    """
    if purpose != 'begin':
        check_checkpoint_kind(checkpoint, model, source)
    weights: Mapping[str, Tensor] = checkpoint.get('state_dict', checkpoint)
    trained, heads = trained_with(checkpoint), class_heads(model)
    if trained is None or given is None:
        return weights
    trained, given = (of_parts(each, heads) for each in (trained, given))
    if trained == given:
        return weights
    told = tell_difference(trained, given, ('the checkpoint', who))
    same = reordered(trained, given)
    if purpose == 'resume':
        raise CheckpointError(
            f"'{source}' cannot be resumed with another class list ({told}): give the list that it was trained with, "
            f"or start a new run from its weights: load_from='{source}'"
        )
    if purpose == 'infer' and not same:
        _tell_renaming(trained, given, source)
        return weights
    if purpose == 'test':
        check_names(trained, given, source=source, who=who)
    matched, unknown = _by_name(weights, model, heads, trained, given)
    if same and not unknown:
        print_log(f"'{source}' has the classes in another order ({told}): its head's rows are put in order", 'current')
        return matched
    if purpose in ('test', 'infer'):
        raise CheckpointError(
            f"'{source}' has the classes in another order ({told}), and which weights of {unknown} belong to a class "
            'is not known: give the list in the order of the checkpoint'
        )
    kept = [name for part, names in given.items() for name in names if name in trained.get(part, ())]
    if not heads:
        fate = f'its weights are loaded unchanged, as {unknown} has no head with num_classes'
    elif unknown:
        fate = f'the weights of {unknown} are initialised'
    elif kept:
        fate = f'the head keeps the rows of {len(kept)} shared names ({shown(kept)}) and initialises the others'
    else:
        fate = 'the head is initialised'
    what = 'the classes in another order than' if same else 'other classes than'
    print_log(f"'{source}' has {what} {who} ({told}): {fate}", 'current', level=WARNING)
    return matched


def _tell_renaming(trained: Names, given: Names, source: str) -> None:
    """Logs renamed classes; a new name may not be the name of another class."""
    changed = [
        (part, old, new)
        for part in given
        for old, new in zip(trained.get(part, ()), given[part], strict=False)
        if old != new
    ]
    for part, old, new in changed:
        if new in trained[part]:
            raise CheckpointError(
                f"the class list calls {old!r} of '{source}' {new!r}, which is another of its classes: give the names "
                'that it was trained with, in any order'
            )
    told = ', '.join(f'{old!r} is called {new!r}' for _, old, new in changed[:3]) + ', ...' * (len(changed) > 3)
    print_log(f"the class list renames classes of '{source}': {told}", 'current', level=WARNING)


def _by_name(
    weights: Mapping[str, Tensor], model: nn.Module, heads: Sequence[Width], trained: Names, given: Names
) -> tuple[Mapping[str, Tensor], str]:
    """The weights with the rows of heads in the order of the list, and the heads whose rows are unknown.

    Rows of names that the checkpoint lacks, and heads whose rows are unknown, keep the model's values.
    """
    matched = OrderedDict((name.removeprefix('module.'), value) for name, value in weights.items())
    if hasattr(weights, '_metadata'):
        matched._metadata = weights._metadata  # type: ignore[attr-defined]
    own = model.state_dict()
    unknown = [] if heads else [type(model).__name__]
    for where, part, _ in heads:
        prefix = f'{where}.'
        if any(other.where.startswith(prefix) for other in heads):
            continue  # it consists of others
        if trained.get(part) == given.get(part):
            continue
        rows = class_rows(matched, prefix, len(trained[part])) if part in trained and part in given else None
        if rows is None:
            if not is_for_training(where, model):  # which a trained model does without
                unknown.append(where)
            for name in [name for name in matched if name.startswith(prefix)]:
                if name in own and own[name].shape == matched[name].shape:
                    matched[name] = gathered(own[name])
            continue
        old = places(given[part], trained[part])
        for name in rows:
            matched[name] = _arranged(matched[name], old, own.get(name))
    return matched, ' and '.join(unknown)


def class_rows(weights: Mapping[str, Any], prefix: str, number: int) -> list[str] | None:
    """The weights of a head, by the prefix of their names, that have a row for each class.

    Returns:
        Names; None if it is ambiguous. ``fcs``, the linear layers of :class:`~mmav.models.ClsHead`, have one. Other
        weights count if they have as many rows as there are classes, unless a layer of the head has as many
        inputs: then the rows may belong to a hidden layer.
    """
    shapes = {
        name: tuple(value.shape)
        for name, value in weights.items()
        if name.startswith(prefix) and isinstance(value, Tensor) and value.dim()
    }
    sure = f'{prefix}fcs.'
    if any(number in shape[1:] for name, shape in shapes.items() if not name.startswith(sure)):
        return None
    return [name for name, shape in shapes.items() if shape[0] == number] or None


def _arranged(value: Tensor, rows: Sequence[int | None], own: Tensor | None) -> Tensor:
    known = [row for row in rows if row is not None]
    if len(known) == len(rows):
        return value[known]
    shape = (len(rows), *value.shape[1:])
    begun = gathered(own) if own is not None and tuple(own.shape) == shape else value.new_zeros(shape)
    begun = begun.detach().clone().to(value.device, value.dtype)
    begun[[place for place, row in enumerate(rows) if row is not None]] = value[known]
    return begun


def tell_other_number(weights: Mapping[str, Any], model: nn.Module) -> str:
    """Describes heads that have a different number of classes than the weights; empty if none does."""
    own = model.state_dict()
    for where, _, number in class_heads(model):
        for name in class_rows(own, f'{where}.', number) or ():
            value = weights.get(name)
            if isinstance(value, Tensor) and value.shape[1:] == own[name].shape[1:] and len(value) != number:
                return f'it tells {len(value)} classes apart, {where} of this config {number}'
    return ''
