import math

import pytest
import torch

from mmav.models import AsymmetricLoss, BCELoss, FocalLoss


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(6, 5, generator=generator), (torch.rand(6, 5, generator=generator) < 0.4).float()


def slow_asymmetric(logits, target, gamma_neg, gamma_pos, clip):
    """Eq. 7 of the paper, for targets of 0 and 1; the sum over the classes of each clip."""
    sums = []
    for row, labels in zip(logits.tolist(), target.tolist(), strict=True):
        total = 0.0
        for x, y in zip(row, labels, strict=True):
            p = 1 / (1 + math.exp(-x))
            shifted = max(p - clip, 0)
            total -= (1 - p) ** gamma_pos * math.log(p) if y else shifted**gamma_neg * math.log(1 - shifted)
        sums.append(total)
    return torch.tensor(sums)


@pytest.mark.parametrize(('gamma_neg', 'gamma_pos', 'clip'), [(4, 1, 0.05), (4, 0, 0.05), (2, 2, 0), (1.5, 0.5, 0.2)])
def test_asymmetric_loss_equals_its_formula(clips, gamma_neg, gamma_pos, clip):
    options = dict(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip)
    found = AsymmetricLoss(**options)(*clips)
    torch.testing.assert_close(found, slow_asymmetric(*clips, **options), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(AsymmetricLoss(**options, reduction='mean')(*clips), found / 5)


def test_asymmetric_loss_of_mixed_clips_is_the_authors(clips):
    """Alibaba-MIIL/ASL, src/loss_functions/losses.py: one power of the mixed probability, for the sum of both terms."""
    logits, target = clips[0], 0.7 * clips[1] + 0.3 * clips[1].flip(0)
    for i, value in enumerate(AsymmetricLoss()(logits, target).tolist()):
        total = 0.0
        for x, y in zip(logits[i].tolist(), target[i].tolist(), strict=True):
            p = 1 / (1 + math.exp(-x))
            absent = min(1 - p + 0.05, 1)
            entropy = y * math.log(p) + (1 - y) * math.log(absent)
            total -= (1 - y * p - (1 - y) * absent) ** (y * 1 + (1 - y) * 4) * entropy
        assert value == pytest.approx(total, rel=1e-4)


def test_asymmetric_loss_without_powers_is_binary_cross_entropy(clips):
    plain = AsymmetricLoss(0, 0, clip=0, reduction='mean')
    torch.testing.assert_close(plain(*clips), BCELoss()(*clips))


@pytest.mark.parametrize('flows', [False, True])
def test_gradient_of_the_powers(clips, flows):
    logits, target = (each.double() for each in clips)
    logits.requires_grad_()
    AsymmetricLoss(focus_gradient=flows)(logits.float(), target).sum().backward()
    p, e = logits.detach().sigmoid(), 1e-6

    def value(p, powers_of):
        q, fixed = (p - 0.05).clamp(min=0), (powers_of - 0.05).clamp(min=0)
        return -(target * (1 - powers_of) * p.log() + (1 - target) * fixed**4 * (1 - q).log())

    low, high = (((p.logit() + d).sigmoid()) for d in (-e, e))
    expected = (value(high, high if flows else p) - value(low, low if flows else p)) / (2 * e)
    torch.testing.assert_close(logits.grad, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('soft', [False, True])
@pytest.mark.parametrize(('gamma', 'alpha'), [(2.0, 0.25), (0.0, 0.5), (1.5, None)])
def test_focal_loss_is_torchvisions(clips, gamma, alpha, soft):
    peer = pytest.importorskip('torchvision.ops').sigmoid_focal_loss
    logits, target = clips[0], clips[1].lerp(clips[1].flip(0), 0.3) if soft else clips[1]
    expected = peer(logits, target, -1 if alpha is None else alpha, gamma)
    torch.testing.assert_close(FocalLoss(gamma, alpha)(logits, target), expected.mean(1))
    torch.testing.assert_close(FocalLoss(gamma, alpha, reduction='sum')(logits, target), expected.sum(1))


@pytest.mark.parametrize('loss', [AsymmetricLoss(), AsymmetricLoss(4, 0.5, focus_gradient=True), FocalLoss(0.5)])
def test_extreme_logits_have_finite_gradients(loss):
    logits = torch.tensor([[200.0, -200.0, 0.0]]).requires_grad_()
    for target in (torch.ones(1, 3), torch.zeros(1, 3), torch.full((1, 3), 0.5)):
        logits.grad = None
        value = loss(logits, target)
        value.backward()
        assert value.isfinite() and logits.grad.isfinite().all()


def test_bad_values():
    for options in (dict(gamma_neg=-1), dict(gamma_pos=-1), dict(clip=1)):
        with pytest.raises(ValueError, match='must not be negative, clip='):
            AsymmetricLoss(**options)
    for options in (dict(gamma=-1), dict(alpha=2)):
        with pytest.raises(ValueError, match='must not be negative, alpha='):
            FocalLoss(**options)
