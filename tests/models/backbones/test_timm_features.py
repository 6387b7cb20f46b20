"""The reading of features, on networks that have nothing but them."""

import pytest
import torch
from torch import nn

from mmav.errors import ConfigError
from mmav.models.backbones.timm_features import Features, blocks_of, read_features


class Network(nn.Module):
    """Patches of 8 pixels in one of timm's forms; ``wide`` has a layer in front of the classifier."""

    num_features = 6

    def __init__(self, form, wide=False):
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(3, 6, 8, stride=8)
        self.wide = nn.Linear(6, 10) if wide else None
        if form == 'last':
            self.output_fmt = 'NHWC'

    def forward_features(self, x):
        maps = self.conv(x)
        tokens = maps.flatten(2).transpose(1, 2)
        if self.form == 'tokens':
            return torch.cat((tokens.sum(dim=1, keepdim=True), tokens), dim=1)
        return dict(maps=maps, last=maps.permute(0, 2, 3, 1), list=[maps])[self.form]

    def forward_head(self, x, pre_logits=False):
        if self.form in ('maps', 'list'):
            x = (x[0] if self.form == 'list' else x).flatten(2).mean(dim=2)
        else:
            x = x.flatten(1, -2).mean(dim=1)
        return x if self.wide is None else self.wide(x)

    def forward_intermediates(self, x, indices=None):
        return self.forward_features(x), [self.conv(x)]


KINDS = dict(maps='maps', last='channels_last', tokens='sequence', list='intermediates')


@pytest.mark.parametrize('form', KINDS)
@pytest.mark.parametrize('wide', [False, True])
def test_forms(form, wide):
    with torch.device('meta'):
        features = read_features(Network(form, wide), 3, (16, 24), who='it')
    idle = {'wide.weight', 'wide.bias'} if wide else set()
    assert features == Features(KINDS[form], 6, (16, 24), (2, 3), int(form == 'tokens'), not wide, frozenset(idle))
    network, images = Network(form, wide), torch.randn(2, 3, 16, 24)
    tokens = features.tokens(network, images)
    expected = network.conv(images)
    torch.testing.assert_close(tokens.patches.transpose(1, 2).unflatten(2, tokens.grid), expected)
    if not wide:
        torch.testing.assert_close(tokens.cls, network.forward_head(network.forward_features(images)))
    else:
        torch.testing.assert_close(tokens.cls, expected.mean(dim=(2, 3)))


def test_the_grid_of_another_size():
    features = Features('sequence', 6, (16, 24), (2, 3), 1)
    network = Network('tokens')
    assert features.tokens(network, torch.zeros(1, 3, 40, 16)).grid == (5, 2)
    assert features.tokens(network, torch.zeros(1, 3, 44, 23)).grid == (5, 2)
    odd = Features('sequence', 6, (16, 24), (2, 3), 2)
    with pytest.raises(ConfigError, match=r'^9 tokens of images of \(40, 16\) are of no known grid'):
        odd.tokens(network, torch.zeros(1, 3, 40, 16))


def test_blocks_by_their_names():
    layers = [nn.Linear(1, 1) for _ in range(4)]
    network = nn.Module()
    assert blocks_of(network) == ()
    for k, layer in enumerate(layers, start=1):
        setattr(network, f'layer{k}', layer)
    assert blocks_of(network) == tuple(layers)
    network.stages = nn.Sequential(*layers[:2])
    assert blocks_of(network) == tuple(layers[:2])
