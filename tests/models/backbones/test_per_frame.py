import pytest
import torch

from mmav.errors import ConfigError
from mmav.models import PerFrame
from mmav.models.backbones.base import input_shape

IMAGE = dict(type='ViT', input_size=(32, 48), patch_kernel=(16, 16), embed_dims=8, num_layers=2, num_heads=2)


def test_each_frame_is_encoded_as_an_image():
    torch.manual_seed(0)
    model = PerFrame(IMAGE, frames=3).eval()
    clip = torch.randn(2, 3, 4, 32, 48)
    tokens, images = model(clip), [model.encoder(clip[:, :, k]) for k in range(4)]
    assert tokens.grid == (4, 2, 3) and input_shape(model) == (3, 3, 32, 48)
    torch.testing.assert_close(tokens.cls, torch.stack([image.cls for image in images]).mean(dim=0))
    torch.testing.assert_close(tokens.patches, torch.cat([image.patches for image in images], dim=1))


def test_the_contract():
    model = PerFrame(IMAGE, pool='attention')
    assert model.blocks == tuple(model.encoder.blocks) and model.patch_embed is None
    assert model.no_weight_decay() == {'encoder.cls_token', 'encoder.pos_embed'}
    assert {key.split('.')[0] for key in model.state_dict()} == {'encoder', 'pool'}
    model(torch.randn(2, 3, 4, 32, 48)).cls.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_init_weights_reaches_the_encoder():
    model = PerFrame(dict(IMAGE, init_std=0.5))
    torch.nn.init.zeros_(model.encoder.blocks[0].attn.qkv.weight)
    model.init_weights()
    assert model.encoder.blocks[0].attn.qkv.weight.std() > 0.3


def test_an_encoder_of_clips_is_refused():
    arch = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
    with pytest.raises(
        ConfigError, match=r'^backbone: MViTv2 takes inputs of size \(4, 32, 32\), but each frame is an im'
    ):
        PerFrame(dict(type='MViTv2', arch=arch, input_size=(4, 32, 32)))
    assert PerFrame(
        dict(
            type='MViTv2', arch=arch, input_size=(32, 32), patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(2, 2)
        )
    )(torch.zeros(1, 3, 2, 32, 32)).grid == (2, 4, 4)  # fmt: skip
