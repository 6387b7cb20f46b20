import copy

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import distributed
from torch.distributed.fsdp import FullyShardedDataParallel

from mmav.config_check import find_problems
from mmav.engine.activation_checkpointing import BLOCKS
from mmav.engine.cli import load_config
from mmav.models import AVClassifier
from mmav.registry import MODEL_WRAPPERS
from mmav.structures import AVDataSample
from tests.toys import ROOT

BASE = ROOT / 'configs' / '_base_' / 'fsdp.py'


@pytest.fixture
def group_of_one(tmp_path):
    distributed.init_process_group('gloo', init_method=f'file://{tmp_path / "group"}', rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures('group_of_one')
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_each_block_is_a_unit():
    init_default_scope('mmav')
    torch.manual_seed(0)
    arch = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
    model = AVClassifier(
        dict(
            video=dict(type='MViTv2', arch=arch, input_size=(4, 16, 16)),
            audio=dict(type='AST', input_size=(32, 32), embed_dims=16, num_layers=2, num_heads=2),
        ),
        dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2),
        dict(type='ClsHead', num_classes=3),
    )
    batch = (
        dict(video=torch.randn(2, 1, 3, 4, 16, 16), audio=torch.randn(2, 1, 1, 32, 32)),
        [AVDataSample().set_gt_label(i) for i in range(2)],
    )
    expected = model(*batch, mode='loss')['loss_cls']
    # torch asks for an accelerator unless the CPU is named, which a config cannot do
    cfg = dict(load_config(str(BASE)).model_wrapper_cfg, device_id=torch.device('cpu'), module=copy.deepcopy(model))
    wrapped = MODEL_WRAPPERS.build(cfg)
    units = [type(unit.module) for unit in FullyShardedDataParallel.fsdp_modules(wrapped)]
    blocks = [type(module) for module in model.modules() if isinstance(module, BLOCKS)]
    assert len(blocks) == 2 + 2 + 2 and sorted(map(str, units)) == sorted(map(str, [AVClassifier, *blocks]))
    loss = wrapped(*batch, mode='loss')['loss_cls']
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    grads = {name.replace('_fsdp_wrapped_module.', ''): p.grad for name, p in wrapped.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad)


def test_the_base_is_checked():
    cfg = load_config(str(ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py'))
    cfg.model_wrapper_cfg = load_config(str(BASE)).model_wrapper_cfg
    assert list(find_problems(cfg)) == []
    cfg.model_wrapper_cfg.auto_wrap_polcy = 'wrap_blocks'
    assert "did you mean 'auto_wrap_policy'" in next(find_problems(cfg))
