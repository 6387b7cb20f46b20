"""Merging checkpoints: the rows of their heads must be the same classes, in the same order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from mmav.class_names import Names, places, reordered, tell_difference, trained_with
from mmav.engine.class_heads import class_rows
from mmav.engine.label_kinds import checkpoint_kind
from mmav.errors import CheckpointError

# the weights of a head's last layers, of one label or of a part of several
_OF_A_HEAD = re.compile(r'head\.(\w+\.)?fcs\.')


def alike(checkpoint: Mapping[str, Any], first: Names | None, path: str) -> tuple[Mapping[str, Tensor], Names | None]:
    """The weights of a checkpoint, with the rows of its head in the order of another checkpoint's classes.

    Args:
        checkpoint: The content of its file.
        first: The names of the other one; None if unknown.
        path: The file, for messages.

    Returns:
        The weights, and the names that both have now.

    Raises:
        CheckpointError: The names differ, or it is unknown which weights have a row for each class.
    """
    state, names = checkpoint.get('state_dict', checkpoint), trained_with(checkpoint)
    if first is None or names is None or names == first:
        return state, first or names
    told = tell_difference(first, names, ('the one before', f"'{path}'"))
    if not reordered(first, names):
        raise CheckpointError(f"'{path}' was trained with other classes than the one before ({told})")
    state = dict(state)
    for part in names:
        if names[part] == first[part]:
            continue
        prefix = 'head.' if part == 'label' else f'head.{part}.'
        rows = class_rows(state, prefix, len(names[part]))
        if rows is None:
            raise CheckpointError(
                f"'{path}' has the classes in another order ({told}), in a head that is not ClsHead's"
            )
        order = places(first[part], names[part])
        state.update({name: state[name][order] for name in rows})
    print_log(f"'{path}' has the classes in another order ({told}): its head's rows are put in order")
    return state, first


def alike_kind(checkpoint: Mapping[str, Any], first: bool | None, path: str) -> bool | None:
    """Whether a checkpoint, and the one before, were trained with any number of labels a clip; None if neither says.

    Args:
        checkpoint: The content of its file.
        first: What the one before says.
        path: The file, for messages.

    Raises:
        CheckpointError: They differ: what one means by a score, the other does not.
    """
    kind = checkpoint_kind(checkpoint)
    if kind is not None and first is not None and kind != first:
        told = {True: 'any number of labels', False: 'one label'}
        raise CheckpointError(
            f"'{path}' was trained with {told[kind]} a clip, the one before with {told[first]}: give models of one kind"
        )
    return first if kind is None else kind


def check_rows(merged: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str) -> None:
    """Fails where the heads of two checkpoints have different numbers of classes.

    Raises:
        CheckpointError: With both numbers.
    """
    before, now = (
        {start[0]: len(value) for name, value in each.items() if (start := _OF_A_HEAD.match(name))}
        for each in (merged, state)
    )
    for head in before.keys() & now.keys():
        if before[head] != now[head]:
            raise CheckpointError(
                f"'{path}' tells {now[head]} classes apart, the one before {before[head]}: give models of the same "
                'classes'
            )
