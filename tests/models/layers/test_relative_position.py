import torch

from mmav.models.layers import RelativePosition
from mmav.models.layers.relative_position import resize_table


def test_tables_are_interpolated_for_other_sizes():
    table = torch.arange(5.0)[:, None].expand(5, 3)
    assert resize_table(table, 5) is table
    resized = resize_table(table, 9)
    assert resized.shape == (9, 3)
    assert (resized.diff(dim=0) >= 0).all()
    assert resize_table(table.bfloat16(), 9).dtype == torch.bfloat16
    module = RelativePosition(3, (3, 3), (3, 3))
    assert [p.shape[-1] for p in module(torch.randn(1, 30, 1, 3), (5, 6), (5, 6))] == [5, 6]


def test_training_after_inference():
    module = RelativePosition(3, (4,), (4,))
    with torch.inference_mode():
        module(torch.randn(1, 4, 1, 3), (4,), (4,))
    module(torch.randn(1, 4, 1, 3), (4,), (4,))[0].sum().backward()
    assert module.tables[0].grad is not None
