"""What the configs of paper size start from fits them: files of published layouts and shapes, without their values."""

import pytest
import timm
import torch
from mmengine.registry import init_default_scope

from mmav.config.reading import load_config
from mmav.models.weights import public_weights
from mmav.models.weights.source import Source
from mmav.registry import MODELS, WEIGHT_INITIALIZERS
from tests.toys import ROOT

# timm has the very files: their shapes, under the same names but for MViTv2's, which are a layout of their own
MODEL_OF = dict(
    mvitv2_b_in1k='mvitv2_base',
    deit_b_distilled_384_in1k='deit_base_distilled_patch16_384',
    vit_b_in21k='vit_base_patch16_224',
)


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Builds an encoder of a config without memory and loads what it starts from; returns the report."""
    reports = []
    take = public_weights.load_public_weights
    monkeypatch.setattr(
        public_weights, 'load_public_weights', lambda *a, **k: reports.append(take(*a, **k)) or reports[-1]
    )
    monkeypatch.setattr(Source, 'fetch', lambda self: tmp_path / self.given)
    init_default_scope('mmav')

    def published(path):
        with torch.device('meta'):
            state = timm.create_model(MODEL_OF[path.name]).state_dict()
            if path.name == 'vit_b_in21k':
                # the layer behind the class token that timm has given up
                state |= {'pre_logits.fc.weight': torch.empty(768, 768), 'pre_logits.fc.bias': torch.empty(768)}
        return dict(model=state)

    monkeypatch.setattr(public_weights, 'load_checkpoint_file', published)

    def load(config, modality):
        with torch.device('meta'):
            encoder = MODELS.build(load_config(str(ROOT / 'configs' / f'{config}.py')).model.backbones[modality])
            WEIGHT_INITIALIZERS.build(encoder.init_cfg)(encoder)
        return reports[-1]

    return load


@pytest.mark.parametrize(
    ('config', 'modality', 'missing'),
    [
        ('mmt/mmt_k4_l4_vggsound', 'video', ['cls_token']),
        ('mmt/mmt_k4_l4_vggsound', 'audio', ['cls_token']),
        ('mat/mat_2d_only_vggsound', 'audio', ['cls_token']),
        ('ast/ast_base_vggsound', 'audio', []),
    ],
)
def test_all_of_an_encoder_comes_from_the_file(load, config, modality, missing):
    report = load(config, modality)
    assert report.missing == missing and not report.misfits
    assert all(key.startswith(('head', 'head_dist')) for key in report.unused)


@pytest.mark.parametrize('modality', ['video', 'audio'])
def test_mbts_encoders_take_the_first_eight_layers(load, modality):
    report = load('mbt/mbt_b_vggsound', modality)
    assert not report.missing and not report.misfits
    rest = {key.split('.')[1] if key.startswith('blocks.') else key.split('.')[0] for key in report.unused}
    assert rest == {'8', '9', '10', '11', 'norm', 'head', 'pre_logits'}


def test_pooling_kernels_of_another_size_are_drawn(load):
    report = load('mat/mat_time_only_vggsound', 'audio')
    assert report.missing == ['cls_token']
    assert len(report.misfits) == 3 * 24 and all(key.endswith('.conv.weight') for key in report.misfits)
