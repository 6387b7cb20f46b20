"""Configs made small: what the row is stays, all else fits a CPU; every row of the paper can be."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmav.analysis.complexity import count_model
from mmav.analysis.paper.shrinking import shrink, write_small_config
from mmav.config.check import check_config
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.registry import MODELS
from tests.configs.digests import ROOT, config_of

# every encoder, every neck with something to make small, losses; verbs and nouns
CONFIGS = (
    'ast/ast_base_vggsound',
    'mmt/mmt_k4_l4_no_mat_vggsound',
    'mbt/mbt_b_vggsound',
    'mmt/mmt_k4_l4_avc_imc_epic_kitchens',
)


@pytest.mark.parametrize('config', CONFIGS)
def test_every_row_becomes_small_and_keeps_its_parts(config):
    before, small = config_of(ROOT / f'configs/{config}.py'), shrink(config_of(ROOT / f'configs/{config}.py'))
    check_config(small)
    assert small.model.neck.type == before.model.neck.type
    assert small.model.get('contrast', {}).get('losses') == before.model.get('contrast', {}).get('losses')
    for name, encoder in small.model.backbones.items():
        assert (encoder is None) == (before.model.backbones[name] is None)
        assert encoder is None or (encoder.type == before.model.backbones[name].type and 'init_cfg' not in encoder)
    (loader,) = (step for step in small.test_dataloader.dataset.pipeline if step['type'] == 'LoadClip')
    assert (loader['num_views'], loader['num_frames']) == (5, 4)
    assert count_model(small.model)[-1].explicit < 5e6 and small.train_cfg.max_epochs == 1


def test_inputs_fit_the_model():
    """One clip through the test pipeline's sizes and the small MMT."""
    small = shrink(config_of(ROOT / 'configs/mmt/mmt_k4_l4_avc_imc_vggsound.py'))
    init_default_scope('mmav')
    model = MODELS.build(small.model).eval()
    steps = {step['type']: step for step in small.test_dataloader.dataset.pipeline}
    frames, side = steps['LoadClip']['num_frames'], steps['CenterCrop']['size']
    bins, length = (steps['LogMel'][name] for name in ('num_mel_bins', 'target_frames'))
    inputs = dict(video=torch.zeros(1, 5, 3, frames, side, side), audio=torch.zeros(1, 1, 1, bins, length))
    with torch.no_grad():
        assert torch.isfinite(torch.as_tensor(next(iter(model(inputs, mode='tensor').values())))).all()


def test_the_written_config_is_the_same(tmp_path):
    small = shrink(config_of(ROOT / 'configs/mat/mat_base_vggsound.py'))
    path = write_small_config(small, 'configs/mat/mat_base_vggsound.py', tmp_path / 'configs')
    assert path == tmp_path / 'configs' / 'mat_base_vggsound.py'
    assert load_config(str(path)).model == small.model


def test_an_unknown_encoder():
    cfg = config_of(ROOT / 'configs/small/small_avsynth.py')
    with pytest.raises(ConfigError, match=r"model.backbones.video.type='ConvEncoder' cannot be made small"):
        shrink(cfg)
