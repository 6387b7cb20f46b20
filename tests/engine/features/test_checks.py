"""Configs of features whose parts do not go together."""

import copy

import pytest

from mmav.config.check import find_problems
from mmav.engine.features.twin import make_twin


@pytest.fixture
def twin(cfg, extracted):
    make_twin(cfg, str(extracted.folder))
    return cfg


def test_a_twin_is_right(twin):
    assert list(find_problems(twin)) == []


@pytest.mark.parametrize(
    ('change', 'problem'),
    [
        (dict(batch_augment=dict(type='MixupCutmix', num_classes=3)), 'mixes clips before encoders'),
        (dict(norm=dict(video=dict(mean=0, std=1))), 'norm.video: features are not normalised again'),
    ],
)
def test_what_acts_before_encoders(twin, change, problem):
    twin.model.data_preprocessor.update(change)
    assert any(problem in each for each in find_problems(twin))
    twin.data_preprocessor = twin.model.pop('data_preprocessor')
    assert any(problem in each for each in find_problems(twin))


def test_encoders_do_not_read_features(cfg, twin):
    mixed = copy.deepcopy(twin)
    mixed.model.backbones.video = dict(type='MViTv2')
    assert any('reads features, and model.backbones.video is a MViTv2' in each for each in find_problems(mixed))


def test_features_are_not_read_from_files(base, twin):
    twin.test_dataloader = copy.deepcopy(base.test_dataloader)
    found = [each for each in find_problems(twin) if 'test_dataloader' in each]
    assert found and 'reads files with a AVDataset, and model.backbones.video is a CachedBackbone' in found[0]
