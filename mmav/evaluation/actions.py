"""Actions: predictions of all parts of a label, such as verb and noun, as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np

from mmav.errors import MmavError
from mmav.evaluation.predictions import Classes, is_multi_label, sizes_of


def as_actions(rows: Sequence[dict], classes: Classes | None = None) -> tuple[list[dict], list[str] | None]:
    """Turns predictions into those of one part, ``label``: of a verb and a noun, the action.

    Returns:
        Rows with scores (V * N,), and the names of the actions. Clips without labels stay so.

    Raises:
        MmavError: Clips have sets of labels of several parts, which are no actions.
    """
    if is_multi_label(rows) and len(rows[0]['label']) > 1:
        raise MmavError('clips with several verbs or nouns have no action: this is for one label, or one set of them')
    actions = []
    for row in rows:
        sizes = list(sizes_of(row).values())
        label = tuple(row['label'].values())
        if label and not isinstance(label[0], tuple):
            label = (int(np.ravel_multi_index(label, sizes)),)
        scores = reduce(np.multiply.outer, row['scores'].values()).ravel()
        actions.append({**row, 'label': dict(zip(['label'], label, strict=False)), 'scores': dict(label=scores)})
    return actions, action_names(list(classes.values())) if classes else None


def action_names(lists: Sequence[Sequence[str]]) -> list[str]:
    """Names of all combinations of parts, in the order of their joint scores.

    >>> action_names([['cut', 'wash'], ['cup', 'pan']])
    ['cut cup', 'cut pan', 'wash cup', 'wash pan']
    """
    return [' '.join(words) for words in product(*lists)]
