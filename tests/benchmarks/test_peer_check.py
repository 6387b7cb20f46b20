import re

import pytest
import torch
from torch import nn

from benchmarks.peer_check import JUMPS, TOLERANCE, check, disagreements, loss_of
from benchmarks.peers import Case
from tests.benchmarks.peer_cases import CASES


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


def found_in(case, models, x, **options):
    """The differences from the only other model, and what they say."""
    ((peer, differences),) = check(case, models, x, **options).items()
    return differences, disagreements(case, next(iter(models)), peer, differences)


@pytest.mark.parametrize('case', ['video', 'image', 'ast', 'attention'])
def test_ours_say_what_the_others_say(case):
    case = CASES[case]()
    found = check(case, case.contenders, torch.randn(2, *case.shape))
    assert list(found) == list(case.contenders)[1:]
    for differences in found.values():
        assert list(differences) == ['output', 'gradient', 'gradient_float32']
        assert max(differences.values()) < 1e-5 and differences['gradient'] < 1e-6
    assert {p.dtype for model in case.contenders.values() for p in model.parameters()} == {torch.float32}


def test_what_has_no_float64_is_compared_in_float32():
    class OnlySingle(Toy):
        def forward(self, x):
            assert x.dtype != torch.float64
            return super().forward(x)

    models = dict(mmav=OnlySingle('gradient'), other=OnlySingle())
    case = Case('toys', (4,), models, double=False)
    differences, lines = found_in(case, models, torch.ones(2, 4))
    assert list(differences) == ['output', 'gradient_float32'] and differences['gradient_float32'] == 0.5
    assert len(lines) == 1 and 'gradients in float32 of mmav and other differ' in lines[0]


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
    found = check(case, case.contenders, torch.randn(1, *case.shape), gradients=False)
    peer = next(iter(found))
    (line,) = disagreements(case, next(iter(case.contenders)), peer, found[peer])
    assert re.search(r'outputs of .* differ by .*, more than 0.0001: they do not compute the same', line)


def test_gradients_are_compared_too():
    case, models, x = pair('gradient')
    assert check(case, models, x, gradients=False) == dict(other=dict(output=0.0))
    differences, lines = found_in(case, models, x)
    assert differences['gradient'] == differences['gradient_float32'] == 0.5
    assert lines[0].startswith('toys: gradients of mmav and other differ by 5.0e-01, more than 0.0001')
    assert lines[1].startswith('toys: gradients in float32 of mmav and other differ by')
    assert len(lines) == 2


class Pooled(nn.Module):
    """Max pooling over pairs; of the same values, but for rounding, where they have been divided and multiplied."""

    def __init__(self, divisor=1.0):
        super().__init__()
        self.divisor = divisor

    def forward(self, x):
        return nn.functional.max_pool1d((x / self.divisor * self.divisor)[:, None], 2)[:, 0]


def test_where_rounding_decides_about_max_pooling_the_gradients_agree():
    """The gradients in float32 are further apart than the limit that once was theirs; one token's has jumped."""
    x = torch.rand(1, 1200, generator=torch.Generator().manual_seed(0)) + 1
    lower = torch.arange(1.5, 1.5 + 1e-5, 2.0**-23)
    upper = torch.nextafter(lower, torch.tensor(2.0))
    one = lower[(lower / 3 * 3 == upper / 3 * 3)][0]  # the larger of the two becomes equal to the other
    x[0, 620], x[0, 621] = one, torch.nextafter(one, torch.tensor(2.0))
    case = Case('pools', (1200,), dict(mmav=Pooled(), other=Pooled(3.0)))
    differences, lines = found_in(case, case.contenders, x)
    assert differences['output'] < 1e-6 and TOLERANCE < differences['gradient_float32'] < JUMPS
    assert differences['gradient'] < 1e-12 and not lines


def test_nan_is_no_agreement():
    _, lines = found_in(*pair('nan'))
    assert 'outputs of mmav and other differ by nan' in lines[0]


def test_half_precision_may_be_as_far_off_as_the_others():
    found = check(*pair('rounding', 'rounding'), dtype=torch.bfloat16)['other']
    assert found['output'] == 0 and found['half'] == found['half_peer'] == pytest.approx(0.01 / 8, rel=1e-3)
    _, (line,) = found_in(*pair('half', 'rounding'), dtype=torch.bfloat16)
    assert re.search(r'in half precision outputs of mmav are 1.3e-02 off .* the 1.3e-03 of other', line)


def test_different_models_are_not_compared():
    assert check(*pair('nan', same=False)) == {}


def test_loss_has_a_gradient_behind_a_layer_norm():
    x = torch.randn(2, 8, requires_grad=True)
    loss_of(nn.functional.layer_norm(x, (8,))).backward()
    assert x.grad.abs().min() > 1e-6
