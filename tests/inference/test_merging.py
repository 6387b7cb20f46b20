"""A checkpoint of LoRA becomes one of a plain model that computes the same."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.engine.loading import load_weights
from mmav.errors import CheckpointError
from mmav.inference.merging import merged
from mmav.models.lora import is_lora, lora_layers
from mmav.registry import MODELS
from tests import synthetic


def experiment(**lora) -> Config:
    cfg = synthetic.experiment(1, optimizer=dict(type='AdamW'))
    for backbone in cfg['model']['backbones'].values():
        backbone['lora'] = lora or None
    cfg['model']['neck'] |= dict(freeze='all')
    return Config(cfg)


def trained(cfg: Config) -> torch.nn.Module:
    init_default_scope('mmav')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.01, std=0.2)
    return model


def test_the_plain_model_computes_the_same():
    cfg = experiment(rank=2, alpha=4)
    model = trained(cfg)
    meta = dict(dataset_meta=dict(classes=list('abcde')), config='text', optimizer_kind='AdamW')
    plain, checkpoint, number = merged(cfg, dict(meta=meta, state_dict=model.state_dict()), 'lora.pth')
    assert number == len(lora_layers(model)) > 0 and not any(map(is_lora, checkpoint['state_dict']))
    assert checkpoint['meta'] == dict(dataset_meta=meta['dataset_meta'], position_grids={})
    assert 'lora' in cfg.model.backbones.video and 'lora' not in plain.model.backbones.video
    again = MODELS.build(plain.model).eval()
    load_weights(again, checkpoint['state_dict'], 'plain.pth', strict=True)
    sample = synthetic.SyntheticClips()[0]['inputs']
    inputs = {name: value[None, :1] for name, value in sample.items()}
    inputs['video'], inputs['audio'] = inputs['video'][:, :, :, :2], inputs['audio']
    expected = model(inputs)['label']
    torch.testing.assert_close(again(inputs)['label'], expected, atol=1e-5, rtol=1e-5)


def test_a_plain_one_is_refused():
    cfg = experiment()
    with pytest.raises(CheckpointError, match="'plain.pth' has no LoRA and every weight: there is nothing to merge"):
        merged(cfg, dict(state_dict=trained(cfg).state_dict()), 'plain.pth')
