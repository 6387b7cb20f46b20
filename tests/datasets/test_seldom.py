from __future__ import annotations

from types import SimpleNamespace

import pytest

from mmav.datasets import seldom
from mmav.datasets.seldom import COUNTED_ALWAYS, Seldom


def test_few_clips_are_counted_each_time():
    few = Seldom(COUNTED_ALWAYS)
    few.wait(1000)
    assert few.due() and few.due(0)


@pytest.mark.parametrize(('workers', 'own'), [(None, 8), (1, 4), (4, 1)])
def test_each_worker_waits_for_half_its_share(monkeypatch, workers, own):
    worker = None if workers is None else SimpleNamespace(num_workers=workers)
    monkeypatch.setattr(seldom, 'get_worker_info', lambda: worker)
    many = Seldom(COUNTED_ALWAYS + 1)
    assert many.due(0)
    many.wait(8)
    assert not many.due(0)
    assert [many.due() for _ in range(own)] == [*[False] * (own - 1), True]
    assert many.due(0)
