import pytest
import torch
from mmengine.model import BaseModel
from torch import nn
from torch.optim.swa_utils import update_bn

from mmav.engine.batch_norm import layers_with_statistics, recompute_statistics
from mmav.errors import ConfigError


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.still = nn.BatchNorm1d(4)

    def train(self, mode=True):
        super().train(mode)
        self.still.eval()  # as what freeze holds
        return self

    def forward(self, inputs, mode='tensor'):
        return self.still(self.layers(inputs))


def make():
    torch.manual_seed(0)
    model = Net()
    model(torch.randn(8, 3))  # statistics of other data
    return model


def batches():
    return [dict(inputs=torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) * 3) for seed in range(4)]


def test_statistics_are_those_of_torch():
    model, other = make(), make()
    model.eval()
    before = torch.get_rng_state()
    assert recompute_statistics(model, batches()) == 4
    assert torch.equal(before, torch.get_rng_state())
    update_bn([batch['inputs'] for batch in batches()], other)
    for one, two in zip(model.layers, other.layers, strict=True):
        torch.testing.assert_close(one.state_dict(), two.state_dict())
    assert model.layers[1].momentum == 0.1 and not model.training and not model.layers[1].training
    # weights, and what is frozen, are as before
    torch.testing.assert_close(model.layers[0].state_dict(), make().layers[0].state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(model.still.state_dict(), make().still.state_dict(), rtol=0, atol=0)


def test_what_has_no_statistics_is_refused():
    assert len(layers_with_statistics(make())) == 2
    with pytest.raises(ConfigError, match='Linear has no BatchNorm whose statistics train'):
        recompute_statistics(nn.Linear(2, 2), batches())
    with pytest.raises(ConfigError, match='no batch of training data'):
        recompute_statistics(make(), [])
