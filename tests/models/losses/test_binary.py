import pytest
import torch
from torch import nn

from mmav.errors import ConfigError
from mmav.models import BCELoss


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(6, 5, generator=generator), (torch.rand(6, 5, generator=generator) < 0.4).float()


def test_binary_cross_entropy_of_each_clip(clips):
    logits, target = clips
    expected = nn.BCEWithLogitsLoss(reduction='none')(logits, target)
    torch.testing.assert_close(BCELoss()(logits, target), expected.mean(1))
    torch.testing.assert_close(BCELoss(reduction='sum', loss_weight=2.0)(logits, target), 2 * expected.sum(1))
    torch.testing.assert_close(BCELoss()(logits, target).mean(), nn.BCEWithLogitsLoss()(logits, target))


def test_half_precision_is_computed_in_float32(clips):
    logits, target = clips
    loss = BCELoss()(logits.half(), target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, BCELoss()(logits.half().float(), target))


def test_what_is_refused(clips):
    with pytest.raises(ValueError, match="reduction='none': choose 'mean' or 'sum'"):
        BCELoss(reduction='none')
    with pytest.raises(ConfigError, match='BCELoss needs a target'):
        BCELoss()(clips[0], torch.zeros(6, dtype=torch.int64))
