import math

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


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_smoothing_and_weights_equal_a_slow_loop(clips, smoothing):
    logits, target = clips
    target = 0.7 * target + 0.3 * target.flip(0)
    weights, positives = [0.5, 2.0, 0.0, 1.0, 3.0], [1.0, 4.0, 2.0, 0.5, 1.0]
    found = BCELoss(label_smoothing=smoothing, class_weight=weights, pos_weight=positives)(logits, target)
    for i in range(6):
        total = 0.0
        for c in range(5):
            y, p = (1 - smoothing) * target[i, c].item() + smoothing / 5, 1 / (1 + math.exp(-logits[i, c].item()))
            total -= weights[c] * (positives[c] * y * math.log(p) + (1 - y) * math.log(1 - p))
        assert found[i].item() == pytest.approx(total / 5, rel=1e-5)
    torch.testing.assert_close(
        BCELoss(class_weight=weights, pos_weight=positives)(logits, target).mean(),
        nn.BCEWithLogitsLoss(torch.tensor(weights), pos_weight=torch.tensor(positives))(logits, target),
    )
    torch.testing.assert_close(
        BCELoss(pos_weight=2)(logits, target).mean(), nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0))(logits, target)
    )


@pytest.mark.parametrize('smoothing', [0.1, 0.3])
def test_smoothing_is_timms(smoothing):
    cross_entropy = pytest.importorskip('timm.loss').BinaryCrossEntropy(smoothing)
    logits, labels = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 1, 3, 2, 4])
    found = BCELoss(label_smoothing=smoothing)(logits, nn.functional.one_hot(labels, 5).float())
    torch.testing.assert_close(found.mean(), cross_entropy(logits, labels))


def test_half_precision_is_computed_in_float32(clips):
    logits, target = clips
    loss = BCELoss()(logits.half(), target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, BCELoss()(logits.half().float(), target))


def test_what_is_refused(clips):
    with pytest.raises(ValueError, match="reduction='none': choose 'mean' or 'sum'"):
        BCELoss(reduction='none')
    with pytest.raises(ValueError, match=r'label_smoothing=-1 must lie in'):
        BCELoss(label_smoothing=-1)
    with pytest.raises(ConfigError, match='BCELoss needs a target'):
        BCELoss()(clips[0], torch.zeros(6, dtype=torch.int64))
