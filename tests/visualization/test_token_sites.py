import pytest
import torch

from mmav.errors import ConfigError
from mmav.registry import MODELS
from mmav.visualization.token_sites import block_name, blocks_of, find_site
from tests.synthetic import experiment

SIZES = dict(video=(4, 16, 16), audio=(16, 32))


def make(neck=None, **audio):
    config = experiment(2, optimizer={})['model']
    config['neck'] = neck or config['neck']
    config['backbones']['audio'].update(audio)
    return MODELS.build(config)


def test_blocks_are_found_by_name_and_number():
    model = make()
    names = ['backbones.video.blocks.0', 'backbones.video.blocks.1', 'neck.blocks.0.video']
    assert list(blocks_of(model, 'video')) == names
    assert all(model.get_submodule(name) is block for name, block in blocks_of(model, 'video').items())
    assert [block_name(model, 'video', k) for k in (0, -1)] == names[:2]
    assert block_name(model, 'video', names[2]) == names[2]
    for wrong in (2, -3):
        with pytest.raises(ConfigError, match=f'video has no block {wrong}: its encoder has 2, give -2 to 1'):
            block_name(model, 'video', wrong)
    with pytest.raises(
        ConfigError, match="no block 'neck.blocks.0.audio' reads video: choose one of backbones.video.bl"
    ):
        block_name(model, 'video', 'neck.blocks.0.audio')


@pytest.mark.parametrize('neck', ['AVBottleneck', 'MergedAttention'])
def test_the_tokens_of_a_neck_are_those_of_its_modality(neck):
    """The patches that the encoder gives stand where the site says, in what the block reads."""
    model = make(dict(type=neck, embed_dims=16, num_blocks=1, num_heads=2)).eval()
    inputs = {m: torch.randn(2, 1, dict(video=3, audio=1)[m], *size) for m, size in SIZES.items()}
    tokens, _ = model.encode(inputs)
    for modality in SIZES:
        name = 'neck.blocks.0' if neck == 'MergedAttention' else f'neck.blocks.0.{modality}'
        site = find_site(model, modality, name, SIZES)
        read = []
        handle = site.block.register_forward_pre_hook(lambda _, args, read=read: read.append(args[0]))
        model(inputs)
        handle.remove()
        assert tuple(axis.length for axis in site.axes) == tokens[modality].grid
        torch.testing.assert_close(read[0][:, site.tokens], model.neck.adapt[modality](tokens[modality].patches))


@pytest.mark.parametrize(
    ('size', 'block'), [((64, 64), 3), ((56, 112), 3), ((28, 112), 1), ((27, 112), 1), ((24, 24), 0), ((16, 16), 0)]
)
def test_the_default_is_the_last_block_that_reads_a_fine_grid(size, block):
    arch = dict(embed_dims=8, num_layers=4, num_heads=1, stage_blocks=(1,))
    model = make(arch=arch, q_strides=[(2, 2)])
    site = find_site(model, 'audio', None, dict(SIZES, audio=size))
    assert site.name == f'backbones.audio.blocks.{block}'
