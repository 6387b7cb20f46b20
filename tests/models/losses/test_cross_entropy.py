import math

import pytest
import torch

from mmav.models import CrossEntropyLoss


@pytest.mark.parametrize('weights', [None, [0.5, 2.0, 0.0, 1.0]])
@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
@pytest.mark.parametrize('soft', [False, True])
def test_equals_a_slow_loop(smoothing, soft, weights):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    target = torch.rand(6, 4, generator=generator) if soft else torch.randint(4, (6,), generator=generator)
    if soft:
        target = target / target.sum(-1, keepdim=True)
    loss = CrossEntropyLoss(smoothing, loss_weight=0.5, class_weight=weights)(logits, target)
    for i in range(6):
        total = sum(math.exp(v) for v in logits[i].tolist())
        expected = 0.0
        for c in range(4):
            y = target[i, c].item() if soft else float(target[i] == c)
            y = (1 - smoothing) * y + smoothing / 4
            expected -= (weights or [1.0] * 4)[c] * y * (logits[i, c].item() - math.log(total))
        assert loss[i].item() == pytest.approx(0.5 * expected, abs=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_large_half_precision_logits_do_not_overflow(dtype):
    logits = torch.tensor([[60000.0, -60000.0]], dtype=dtype, requires_grad=True)
    loss = CrossEntropyLoss()(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    loss.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_weights_are_torchs_but_for_the_mean(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(6, 4, generator=generator), torch.tensor([0, 1, 1, 3, 2, 0])
    weights = torch.tensor([0.5, 2.0, 0.1, 1.0])
    ours = CrossEntropyLoss(smoothing, class_weight=weights.tolist())(logits, target)
    peer = torch.nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(logits, target)
    torch.testing.assert_close(ours.sum() / weights[target].sum(), peer)


def test_smoothing_is_checked():
    with pytest.raises(ValueError, match=r'label_smoothing=1.5 must lie in \[0, 1\]'):
        CrossEntropyLoss(1.5)
