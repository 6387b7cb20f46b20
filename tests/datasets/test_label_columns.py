from __future__ import annotations

import numpy as np
import pytest

from mmav.datasets.label_columns import LabelColumn


@pytest.mark.parametrize('several', [False, True])
def test_labels_come_back_and_move(several):
    labels = [(0, 2), (), (1,), (1, 2)] if several else [2, 0, 1, 1]
    column = LabelColumn(several=several)
    for label in labels:
        column.add(label)
    packed = column.packed()
    assert [packed[index] for index in range(4)] == labels
    classes, ends = packed.flat()
    assert [classes[begin:end].tolist() for begin, end in zip([0, *ends], ends, strict=False)] == [
        list(label) if several else [label] for label in labels
    ]
    # classes 0 and 2 become one
    places = np.array([5, 3, 5])
    moved = [packed.moved(places)[index] for index in range(4)]
    assert moved == ([(5,), (), (3,), (3, 5)] if several else [5, 5, 3, 3])
    assert [packed[index] for index in range(4)] == labels
