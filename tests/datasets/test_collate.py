from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from mmav.datasets import av_collate
from mmav.registry import FUNCTIONS
from mmav.structures import AVDataSample


def packed(name, frames=4):
    return dict(
        inputs=dict(video=torch.zeros(2, 3, frames, 8, 8, dtype=torch.uint8), audio=torch.ones(1, 1, 16, 10)),
        masks=dict(video=torch.tensor(True), audio=torch.tensor(name == 'a')),
        data_samples=AVDataSample(metainfo=dict(path=f'{name}.mp4')),
    )


def test_stacks():
    batch = av_collate([packed('a'), packed('b'), packed('c')])
    assert {k: tuple(v.shape) for k, v in batch['inputs'].items()} == dict(
        video=(3, 2, 3, 4, 8, 8), audio=(3, 1, 1, 16, 10)
    )
    assert batch['masks']['audio'].tolist() == [True, False, False]
    assert batch['masks']['video'].dtype == torch.bool
    assert [sample.path for sample in batch['data_samples']] == ['a.mp4', 'b.mp4', 'c.mp4']


def collate_and_look(clips):
    return av_collate(clips)['inputs']['video'].is_shared()


def test_a_worker_stacks_into_shared_memory():
    loader = DataLoader([packed('a'), packed('b')], batch_size=2, num_workers=1, collate_fn=collate_and_look)
    assert list(loader) == [True]


def test_names_the_clip_that_differs():
    with pytest.raises(
        ValueError, match=r'video of b.mp4 has shape \(2, 3, 5, 8, 8\), of a.mp4 \(2, 3, 4, 8, 8\); .*crop'
    ):
        av_collate([packed('a'), packed('b', frames=5)])


def test_is_registered():
    assert FUNCTIONS.get('av_collate') is av_collate
