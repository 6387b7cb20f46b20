import importlib.util

import pytest
import timm
import torch
from torch import nn
from torchvision.models.video import mvit_v2_s

from benchmarks import peers
from benchmarks.measure import saved_bytes
from benchmarks.peers import CASES, attention_case, draw_parameters, peer_versions, require_peers
from mmav.errors import ConfigError
from mmav.models.layers import MultiscaleAttention
from tests.benchmarks.peer_cases import ARCH
from tests.benchmarks.peer_cases import CASES as TINY
from tests.models.peers import from_timm_mvitv2, from_torchvision_mvit, from_transformers_ast


def bare(model):
    """Modules with their strides and sizes, and shapes of all weights."""
    return str(model), {key: value.shape for key, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ('case', 'peer', 'build'),
    [
        ('video', 'torchvision', lambda: mvit_v2_s(stochastic_depth_prob=0.0)),
        ('image', 'timm', lambda: timm.create_model('mvitv2_base', num_classes=0)),
    ],
)
def test_compared_with_what_the_package_calls_by_this_name(case, peer, build, monkeypatch):
    monkeypatch.setattr(peers, 'draw_parameters', lambda model: model)
    monkeypatch.setattr(peers, 'give_weights', lambda *args: None)
    with torch.device('meta'):
        expected, found = build(), CASES[case]().contenders[peer]
    expected.head = found.head  # that is left out
    assert bare(found) == bare(expected)


@pytest.mark.parametrize(
    ('case', 'mapping'), [('video', from_torchvision_mvit), ('image', from_timm_mvitv2), ('ast', from_transformers_ast)]
)
def test_all_have_the_same_weights(case, mapping):
    ours, *others = TINY[case]().contenders.values()
    for other in others:
        weights = mapping(getattr(other, 'model', other).state_dict())
        torch.testing.assert_close(dict(ours.encoder.state_dict()), weights, rtol=0, atol=0)


def test_transformers_runs_with_each_of_its_forms_of_attention():
    others = list(TINY['ast']().contenders.items())[1:]
    assert [(name, other.model.config._attn_implementation) for name, other in others] == [
        ('transformers, sdpa', 'sdpa'),
        ('transformers, eager', 'eager'),
    ]


def test_forms_of_attention_are_what_the_case_says():
    models = TINY['attention']().contenders
    assert list(models) == ['attention=auto', 'attention=explicit']
    for name, model in models.items():
        forms = {module.attention for module in model.modules() if isinstance(module, MultiscaleAttention)}
        assert forms == {name.removeprefix('attention=')}
    auto, explicit = (model.state_dict() for model in models.values())
    torch.testing.assert_close(dict(auto), dict(explicit), rtol=0, atol=0)


@pytest.mark.parametrize('size', [(4, 32, 32), (64, 96)])
def test_the_first_form_keeps_less_where_it_is_lean(size):
    case = attention_case(arch=ARCH, size=size, forms=('folded', 'explicit'), lean=True)
    assert list(case.contenders) == ['attention=folded, lean', 'attention=explicit']
    plain = attention_case(arch=ARCH, size=size, forms=('folded',)).contenders['attention=folded']
    lean, x = case.contenders['attention=folded, lean'], torch.randn(2, *case.shape)
    kept = [saved_bytes(lambda model=model: model.train()(x), list(model.parameters()))[0] for model in (lean, plain)]
    assert kept[0] < 0.9 * kept[1]


@pytest.mark.parametrize('case', TINY)
def test_what_comes_out_depends_on_what_goes_in(case):
    case = TINY[case]()
    for model in case.contenders.values():
        with torch.no_grad():
            one, two = model.eval()(torch.randn(2, *case.shape, generator=torch.Generator().manual_seed(3)))
        assert (one - two).abs().max() > 0.05 * one.abs().max()


def test_no_parameter_is_left_at_zero_or_one():
    model = draw_parameters(nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm(8)))
    assert all((p != 0).all() and (p != 1).all() for p in model.parameters())
    again = draw_parameters(nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm(8)))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))


def test_missing_packages_are_named_with_their_remedy(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        peers.importlib.util, 'find_spec', lambda name: None if name in ('timm', 'torchvision') else find(name)
    )
    require_peers(['ast', 'mat', 'memory'])
    with pytest.raises(ConfigError, match=r'^not installed: timm; pip install timm .*leave image out of --cases$'):
        require_peers(['ast', 'image'])
    with pytest.raises(ConfigError, match='pip install torchvision timm .* leave video and image out of'):
        require_peers(['video', 'image'])
    assert list(peer_versions()) == ['transformers']
