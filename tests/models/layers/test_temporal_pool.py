import pytest
import torch

from mmav.errors import ConfigError
from mmav.models.layers.temporal_pool import TemporalPool, join_frames, split_frames
from mmav.structures import Tokens


def test_frames_there_and_back():
    clips = torch.randn(2, 3, 4, 5, 6)
    images = split_frames(clips)
    assert images[5].equal(clips[1, :, 1])
    tokens = join_frames(
        Tokens(images.mean(dim=(2, 3)), images.flatten(2).transpose(1, 2), (5, 6)), 4, TemporalPool('mean', 3)
    )
    assert tokens.grid == (4, 5, 6)
    torch.testing.assert_close(tokens.cls, clips.mean(dim=(2, 3, 4)))
    assert tokens.patches.transpose(1, 2).unflatten(2, tokens.grid).equal(clips)
    with pytest.raises(ConfigError, match=r'expected clips \(B, C, T, H, W\), got shape \(2, 1, 4, 4\)'):
        split_frames(torch.zeros(2, 1, 4, 4))


def test_attention_learns_which_frame_matters():
    torch.manual_seed(0)
    pool = TemporalPool('attention', 8)
    frames = torch.randn(64, 5, 8)
    which = torch.arange(64) % 5
    frames[torch.arange(64), which, 0] += 6.0  # it stands out
    torch.testing.assert_close(pool(frames), frames.mean(dim=1), atol=0.3, rtol=0)  # begins close to the mean
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.1)
    for _ in range(40):
        loss = (pool(frames) - frames[torch.arange(64), which]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_unknown_pool():
    with pytest.raises(ConfigError, match=r"^pool='attn' is unknown: choose mean or attention"):
        TemporalPool('attn', 8)
