"""How much the labels of two clips agree: their weight as positives of each other in contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor

from mmav.errors import did_you_mean

PAIR_WEIGHTS = ('jaccard', 'shared')
_ENTRIES = 2**24  # numbers in memory at a time


def check_pair_weight(kind: str | None) -> None:
    """Fails for an unknown weight.

    Raises:
        ValueError: It is unknown.
    """
    if kind is not None and kind not in PAIR_WEIGHTS:
        raise ValueError(
            f'pair_weight={kind!r} is unknown: choose {" or ".join(PAIR_WEIGHTS)}{did_you_mean(kind, PAIR_WEIGHTS)}'
        )


def agreement(labels: Tensor) -> Tensor:
    """Probability (B, B) that the labels of two clips with one each agree.

    Args:
        labels: Class indices (B,), or distributions (B, C).
    """
    if labels.dim() == 1:
        return (labels[:, None] == labels).float()
    labels = _floating(labels)
    return labels @ labels.T


def common_labels(labels: Tensor, kind: str = 'jaccard') -> Tensor:
    """Weight (B, B) of two clips with any number of labels.

    For sets of labels A and B, 'jaccard' is |A and B| / |A or B|, and 'shared' is 1 if they have one in common, else 0.
    For mixed clips, with a_c and b_c in [0, 1] for each class c, 'jaccard' is sum_c min(a_c, b_c) / sum_c max(a_c, b_c)
    (the weighted Jaccard index, of Ruzicka) and 'shared' max_c min(a_c, b_c), the largest share that both have; for 0
    and 1 these are the former. A clip without a label has the weight 0 with every clip, itself included.

    Args:
        labels: (B, C) in [0, 1].
        kind: One of :data:`PAIR_WEIGHTS`.

    >>> common_labels(torch.tensor([[1.0, 1, 0], [0, 1, 1], [0, 0, 0]]))
    tensor([[1.0000, 0.3333, 0.0000],
            [0.3333, 1.0000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    labels = _floating(labels)
    if kind == 'shared':
        rows = max(1, _ENTRIES // max(1, labels.numel()))
        return torch.cat([torch.minimum(some[:, None], labels).amax(dim=-1) for some in labels.split(rows)])
    # sum min = (sum a + sum b - sum |a - b|) / 2, and + for max: without the (B, B, C) of all minima
    distance, total = torch.cdist(labels, labels, p=1.0), labels.sum(dim=-1)
    both = total[:, None] + total
    # rounding must not give disjoint sets a weight above 0, which would make positives of them
    has = (labels > 0).to(labels.dtype)
    common = torch.where(has @ has.T > 0, both - distance, 0.0)
    return common / torch.where(common > 0, both + distance, 1.0)


def _floating(labels: Tensor) -> Tensor:
    return labels if labels.dtype == torch.float64 else labels.float()
