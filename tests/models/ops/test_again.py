from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from mmav.models.ops.again import _Part, run_again
from mmav.models.ops.eager import cheap


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.fc2, self.norm = nn.Linear(6, 12), nn.Linear(12, 6), nn.LayerNorm(6)
        self.dropout = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, x, *, scale=1.0):
        self.calls += 1
        return x + scale * self.dropout(self.fc2(cheap(torch.tanh, self.fc1(cheap(self.norm, x)))))


def gradients(part, run, half=False):
    part.zero_grad()
    torch.manual_seed(1)
    x = torch.randn(4, 6, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        y = run(part, x * 1)
    y.float().square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in part.parameters())]


@pytest.mark.parametrize('half', [False, True])
def test_equals_torchs_checkpoint_dropout_and_precision_included(half):
    part = Part()
    plain = gradients(part, lambda part, x: part(x, scale=2.0), half)
    theirs = gradients(part, lambda part, x: checkpoint(part, x, scale=2.0, use_reentrant=False), half)
    part.calls = 0
    ours = gradients(part, lambda part, x: run_again(part, (x,), dict(scale=2.0)), half)
    assert part.calls == 2
    assert all(map(torch.equal, plain, theirs))
    assert all(map(torch.equal, plain, ours))


def test_random_numbers_go_on_as_without():
    part = Part()
    gradients(part, lambda part, x: part(x))
    expected = torch.rand(3)
    gradients(part, lambda part, x: run_again(part, (x,), {}))
    assert torch.equal(torch.rand(3), expected)


def test_only_the_arguments_are_kept():
    part, held = Part(), []
    x = torch.randn(4, 6, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t) or t, lambda t: t):
        y = run_again(part, (x * 1,), {})
    assert held == []
    y.sum().backward()
    assert part.calls == 2


def test_the_second_pass_ends_when_it_has_all():
    seen = []

    def function(x):
        y = x.exp()
        seen.append('end')
        return y.sin() + 1

    x = torch.randn(3, requires_grad=True)
    run_again(function, (x,), {}).sum().backward()
    assert seen == ['end', 'end']
    seen.clear()
    x.grad = None

    def early(x):
        y = x.exp()  # the last that is kept
        seen.append('end')
        return y + 1

    run_again(early, (x,), {}).sum().backward()
    assert seen == ['end']
    torch.testing.assert_close(x.grad, x.detach().exp())


def test_a_retained_graph_runs_again():
    part = Part()
    x = torch.randn(4, 6, requires_grad=True)
    y = run_again(part, (x * 1,), {}).square().sum()
    y.backward(retain_graph=True)
    first, x.grad = x.grad, None
    y.backward()
    assert torch.equal(first, x.grad) and part.calls == 3


def test_another_second_pass_is_told():
    shapes = iter([(3,), (1,)])
    function = lambda x: (x * torch.ones(next(shapes), requires_grad=True)).exp()  # noqa: E731
    y = run_again(function, (torch.randn(3, requires_grad=True),), {})
    with pytest.raises(RuntimeError, match='its second pass keeps other tensors than its first'):
        y.sum().backward()


def test_a_shorter_second_pass_is_told():
    part = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    y = run_again(part, (torch.randn(2, 3, requires_grad=True),), {})
    part.eval()
    with pytest.raises(RuntimeError, match=r'^Sequential: its second pass keeps other .* train\(\) or eval\(\)'):
        y.sum().backward()


def test_a_changed_weight_is_told():
    part = Part()
    y = run_again(part, (torch.randn(4, 6, requires_grad=True),), {})
    with torch.no_grad():
        part.fc1.bias.add_(1)
    with pytest.raises(RuntimeError, match=r'a tensor \(12,\) was changed in place'):
        y.sum().backward()


def test_arguments_by_name_tell_the_device():
    part = _Part(torch.exp, (), dict(x=torch.empty(1, device='meta')), None)
    assert part.device == 'meta'


def test_a_changed_argument_is_told():
    x = torch.randn(3, requires_grad=True)
    given = x * 1
    y = run_again(torch.exp, (given,), {})
    with torch.no_grad():
        given += 1
    with pytest.raises(RuntimeError, match='was changed in place'):
        y.sum().backward()


@pytest.mark.filterwarnings('error')
def test_what_pytorchs_contexts_keep_is_left_to_them():
    part = Part()
    plain = gradients(part, lambda part, x: part(x))
    contexts = partial(create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
    ours = gradients(part, lambda part, x: run_again(part, (x,), {}, contexts=contexts))
    for one, other in zip(plain, ours, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize('retain', [False, True])
def test_buffers_are_read_as_before_and_updated_once(retain):
    """BatchNorm: running means, and in evaluation mode its result depends on them."""
    found = []
    for again in (False, True):
        torch.manual_seed(0)
        part = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))
        spectral_norm(part[0])
        for seed in range(2):
            x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
            y = (run_again(part, (x,), {}) if again else part(x)).square().sum()
            if retain:
                y.backward(retain_graph=True)
            y.backward()
        found.append([y, x.grad, *(p.grad for p in part.parameters()), *part.buffers()])
    assert len(found[0]) > 8
    assert all(map(torch.equal, *found))
