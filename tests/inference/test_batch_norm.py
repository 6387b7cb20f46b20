"""The statistics themselves: tests/engine/test_batch_norm.py; of files: tests/tools/test_average_checkpoints.py."""

import pytest
import torch

from mmav.errors import CheckpointError, ConfigError
from mmav.inference.batch_norm import has_statistics, with_new_statistics
from tests import toys
from tests.engine.hooks.test_checkpoint_averaging import NormedToy


@pytest.fixture
def config(tmp_path):
    return toys.write_config(tmp_path, "model['type'] = 'NormedToy'\ntrain_dataloader['drop_last'] = False\n")


def test_only_the_statistics_are_new(config):
    torch.manual_seed(0)
    checkpoint = dict(meta=dict(epoch=3), state_dict=NormedToy().state_dict())
    before = {name: value.clone() for name, value in checkpoint['state_dict'].items()}
    found, told = with_new_statistics(checkpoint, str(config), {'train_dataloader.batch_size': 6}, source='x.pth')
    assert told == 'running statistics of 1 BatchNorms: computed on 2 batches of the training list'
    torch.testing.assert_close(dict(checkpoint['state_dict']), before, rtol=0, atol=0)
    points = torch.stack([toys.ToyDataset()[index]['inputs'] for index in range(12)])
    torch.testing.assert_close(found['state_dict']['norm.running_mean'], points.mean(dim=0))
    assert found['state_dict']['norm.num_batches_tracked'] == 2 and found['meta'] == dict(epoch=3)
    for name in ('fc.weight', 'norm.weight'):
        assert torch.equal(found['state_dict'][name], before[name])
    assert has_statistics(checkpoint) and not has_statistics(dict(state_dict=toys.ToyModel().state_dict()))


def test_another_model_is_refused(config):
    with pytest.raises(CheckpointError, match='x.pth'):
        with_new_statistics(dict(state_dict=toys.ToyModel().state_dict()), str(config), source='x.pth')
    lone = {'train_dataloader': None, 'train_cfg': None, 'optim_wrapper': None}
    with pytest.raises(ConfigError, match='has no train_dataloader'):
        with_new_statistics(dict(state_dict=NormedToy().state_dict()), str(config), lone, source='x.pth')
