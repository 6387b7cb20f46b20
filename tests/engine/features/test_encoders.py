"""The encoders that features are made by."""

import copy

import pytest
import torch

from mmav.checkpoints import load_checkpoint_file
from mmav.engine.features.encoders import (
    encoder_digests,
    load_encoders,
    save_encoders,
    stored_grids,
    untrained,
    weight_digest,
)
from mmav.errors import CheckpointError, ConfigError, FeatureError


def test_without_a_checkpoint_they_start_as_in_training(cfg):
    first, second = load_encoders(copy.deepcopy(cfg), None), load_encoders(copy.deepcopy(cfg), None)
    digests = encoder_digests(first.state_dict())
    assert digests == encoder_digests(second.state_dict())
    assert list(digests) == ['video', 'audio']
    cfg.randomness.seed = 4
    assert encoder_digests(load_encoders(cfg, None).state_dict()) != digests
    assert not first.training and not any(parameter.requires_grad for parameter in first.parameters())


def test_a_checkpoint_gives_encoders_whatever_its_head(cfg, tmp_path):
    model = load_encoders(copy.deepcopy(cfg), None)
    state = {f'module.{name}': value + 1 for name, value in model.state_dict().items()}
    torch.save(dict(meta={}, state_dict=state), tmp_path / 'c.pth')
    cfg.model.head.num_classes = 7
    cfg.model.backbones.audio = None
    cfg.model.neck = dict(type='Avg')
    loaded = load_encoders(cfg, str(tmp_path / 'c.pth')).backbones.state_dict()
    for name, value in loaded.items():
        assert torch.equal(value, model.backbones.state_dict()[name] + 1)


def test_encoders_that_start_at_random_are_known(cfg):
    assert untrained(load_encoders(copy.deepcopy(cfg), None)) == ['video', 'audio']
    model = load_encoders(cfg, None)
    model.backbones['video'].init_cfg = dict(type='PublicWeights', checkpoint='a.pth')
    assert untrained(model) == ['audio']
    model.backbones['audio'] = torch.nn.Sequential(model.backbones['video'])  # as PerFrame holds its encoder
    assert untrained(model) == []


def test_what_cannot_be_encoders_is_refused(cfg, tmp_path):
    torch.save(dict(state_dict={'backbones.video.x': torch.zeros(1)}), tmp_path / 'v.pth')
    with pytest.raises(CheckpointError, match='has no encoder of audio, no weights backbones.audio'):
        load_encoders(copy.deepcopy(cfg), str(tmp_path / 'v.pth'))
    cfg.model.backbones.audio = None
    cfg.model.neck = dict(type='Avg')
    with pytest.raises(CheckpointError, match='does not fit the model of this config'):
        load_encoders(cfg, str(tmp_path / 'v.pth'))


def test_digests_are_of_values_names_and_types():
    weights = dict(a=torch.ones(2, 3), b=torch.zeros(()))
    same = {name: weights[name].clone() for name in ('b', 'a')}
    assert weight_digest(weights) == weight_digest(same)
    for change in (dict(a=torch.ones(3, 2)), dict(a=torch.ones(2, 3).double()), dict(c=torch.zeros(1))):
        assert weight_digest({**weights, **change}) != weight_digest(weights)


def test_they_are_saved_once(extracted, tmp_path):
    model, digests = extracted.model, encoder_digests(extracted.model.state_dict())
    path = save_encoders(model, tmp_path, digests)
    saved = load_checkpoint_file(path)
    assert saved['meta']['encoders'] == digests == encoder_digests(saved['state_dict'])
    assert all(name.startswith('backbones.') for name in saved['state_dict'])
    assert save_encoders(model, tmp_path, digests) == path
    with pytest.raises(FeatureError, match='holds other encoders: give another folder'):
        save_encoders(model, tmp_path, dict(digests, video='other'))


def test_which_tokens_are_stored(cfg):
    model = load_encoders(copy.deepcopy(cfg), None)
    assert stored_grids(model, 'auto') == stored_grids(model, 'all') == {}
    assert stored_grids(model, 'cls') == dict(video=(0,), audio=(0,))
    cfg.model.neck = dict(type='Concat')  # reads class embeddings
    assert stored_grids(load_encoders(cfg, None), 'auto') == dict(video=(0,), audio=(0,))
    with pytest.raises(ConfigError, match="tokens='some': choose one of auto, all, cls"):
        stored_grids(model, 'some')
