"""All ways to read give the same clips, and their figures are those of rounds."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict

from benchmarks import shards
from benchmarks.slow_store import Delays
from mmav.datasets import av_collate
from tests.datasets.shards.conftest import PIPELINE


def test_ways_read_the_same_and_are_measured(clip, tmp_path, monkeypatch, torch_home):
    monkeypatch.setattr(Delays, 'opening', 0.0)
    monkeypatch.setattr(Delays, 'reading', 0.0)
    loader = ConfigDict(
        dataset=dict(type='AVDataset', ann_file='x.csv', pipeline=PIPELINE, seed=0), collate_fn=dict(type='av_collate')
    )
    shards.write_folder(tmp_path / 'data', clip, 5)
    ways = shards.sources(loader, tmp_path / 'data', batch_size=2)
    items = [way.dataset[3]['inputs'] for way in ways.values()]
    assert all(torch.equal(item[name], items[0][name]) for item in items for name in ('video', 'audio'))
    read = []
    shards.read_clips(ways[shards.FORWARD], 2, lambda clips: read.append(av_collate(clips)))
    assert sorted(sample.sample_idx for batch in read for sample in batch['data_samples']) == list(range(5))
    result = shards.measure(loader, tmp_path / 'more', clip, clips=4, rounds=1, batch_size=2, progress=False)
    assert not (tmp_path / 'more').exists()
    for stage in shards.STAGES:
        assert list(result[stage]) == list(ways)
        one, two = (result[stage][name] for name in (shards.SLOW, shards.BATCH))
        ratio = two['clips_per_second']['median'] / one['clips_per_second']['median']
        assert abs(two['ratio']['median'] / ratio - 1) < 1e-6 and 'ratio' not in result[stage][shards.FILES]
    text = shards.as_text(result)
    assert all(name in text for name in ways) and '0 ms an open' in text
