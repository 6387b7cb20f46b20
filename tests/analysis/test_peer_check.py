import pytest
import torch
from torch import nn

from mmav.analysis.peer_check import check, loss_of
from mmav.analysis.peers import Case
from mmav.errors import MmavError
from tests.analysis.peer_cases import CASES


class Toy(nn.Module):
    """Twice the input; what is wrong with it is named."""

    def __init__(self, fault=''):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        if self.fault == 'gradient':
            return x + x.detach()
        half = torch.is_autocast_enabled('cpu')
        noise = dict(half=1e-1 * half, rounding=1e-2 * half, nan=float('nan')).get(self.fault, 0.0)
        return 2 * x + noise


def pair(ours, peer='', same=True):
    case = Case('toys', (4,), dict(mmav=Toy(ours), other=Toy(peer)), same=same)
    return case, case.contenders, torch.tensor([[1.0, -2.0, 3.0, 4.0]])


@pytest.mark.parametrize('case', ['video', 'image', 'ast', 'attention'])
def test_ours_say_what_the_others_say(case):
    case = CASES[case]()
    found = check(case, case.contenders, torch.randn(2, *case.shape))
    assert list(found) == list(case.contenders)[1:]
    for differences in found.values():
        assert list(differences) == ['output', 'gradient'] and max(differences.values()) < 1e-5


@pytest.mark.parametrize(
    ('case', 'weight'),
    [
        ('video', 'blocks.1.attn.rel_pos.tables.0'),
        ('video', 'blocks.0.attn.pool_k.norm.weight'),
        ('image', 'patch_embed.proj.bias'),
        ('image', 'blocks.2.mlp.fc2.bias'),
        ('ast', 'pos_embed'),
        ('ast', 'cls_token'),
        ('attention', 'blocks.1.proj.weight'),
    ],
)
def test_one_wrong_weight_is_noticed(case, weight):
    case = CASES[case]()
    ours = next(iter(case.contenders.values()))
    parameter = dict(ours.encoder.named_parameters())[weight]
    with torch.no_grad():
        parameter.view(-1)[0].add_(0.5)
    with pytest.raises(MmavError, match=r'outputs of .* differ by .*, more than 0.0001: they do not compute the same'):
        check(case, case.contenders, torch.randn(1, *case.shape), gradients=False)


def test_gradients_are_compared_too():
    case, models, x = pair('gradient')
    assert check(case, models, x, gradients=False) == dict(other=dict(output=0.0))
    with pytest.raises(MmavError, match='toys: gradients of mmav and other differ by'):
        check(case, models, x)


def test_nan_is_no_agreement():
    with pytest.raises(MmavError, match='outputs of mmav and other differ by nan'):
        check(*pair('nan'))


def test_half_precision_may_be_as_far_off_as_the_others():
    found = check(*pair('rounding', 'rounding'), dtype=torch.bfloat16)['other']
    assert found['output'] == 0 and found['half'] == found['half_peer'] == pytest.approx(0.01 / 8, rel=1e-3)
    with pytest.raises(MmavError, match=r'in bfloat16 outputs of mmav are 1.3e-02 off .* the 1.3e-03 of other'):
        check(*pair('half', 'rounding'), dtype=torch.bfloat16)


def test_different_models_are_not_compared():
    assert check(*pair('nan', same=False)) == {}


def test_loss_has_a_gradient_behind_a_layer_norm():
    x = torch.randn(2, 8, requires_grad=True)
    loss_of(nn.functional.layer_norm(x, (8,))).backward()
    assert x.grad.abs().min() > 1e-6
