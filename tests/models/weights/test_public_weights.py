import logging
import pickle
import unittest.mock

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torchvision.models.video import mvit
from transformers import ASTConfig, ASTModel

from mmav import models
from mmav.engine.console import _is_short
from mmav.errors import CheckpointError
from mmav.models import MAT, MViTv2
from mmav.models.backbones.ast import AST
from mmav.models.weights import PublicWeights, load_public_weights
from mmav.registry import MODELS
from tests.models.peers import from_torchvision_mvit, randomise
from tests.models.weights.files import as_transformers_4, openmmlab, slowfast

IMAGE = dict(patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(4, 4), cls_token=False)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """timm's image MViTv2-T with random weights, and its file."""
    peer = randomise(timm.create_model('mvitv2_tiny'))
    path = tmp_path_factory.mktemp('timm') / 'mvitv2_tiny.pth'
    torch.save(peer.state_dict(), path)
    return peer, path


def make_mvit_peer(size):
    """torchvision's MViTv2-S with random weights for clips (T, H, W); its own function makes 16 x 224 x 224 only."""
    build = mvit._mvit
    with unittest.mock.patch.object(
        mvit, '_mvit', lambda **kwargs: build(**{**kwargs, 'temporal_size': size[0], 'spatial_size': size[1:]})
    ):
        return randomise(mvit.mvit_v2_s())


@pytest.mark.parametrize(
    ('write', 'size'),
    [
        (lambda theirs: slowfast(from_torchvision_mvit(theirs)), (16, 224, 224)),
        (lambda theirs: openmmlab(from_torchvision_mvit(theirs), 'cls_head.fc_cls'), (8, 160, 160)),
        (lambda theirs: theirs, (4, 96, 96)),
    ],
    ids=['SlowFast', 'mmaction2, another size', 'torchvision'],
)
def test_video_weights_give_the_outputs_of_their_model(tmp_path, write, size):
    """torchvision's model, its weights as torchvision, SlowFast and mmaction2 distribute theirs."""
    peer = make_mvit_peer(size)
    torch.save(write(peer.state_dict()), tmp_path / 'video.pyth')
    model = MViTv2('small', input_size=size).eval()
    report = load_public_weights(model, tmp_path / 'video.pyth')
    assert len(report.loaded) == len(model.state_dict())
    assert not (report.adapted or report.missing or report.misfits)
    assert len(report.unused) == 2 and '2 in the file but not used' in str(report)
    clip = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    seen = {}
    peer.norm.register_forward_hook(lambda module, args, output: seen.update(out=output))
    with torch.inference_mode():
        peer(clip)
        torch.testing.assert_close(model(clip).cls, seen['out'][:, 0], atol=1e-4, rtol=1e-4)


def test_torchvision_weights_of_the_first_version_are_refused(tmp_path):
    with torch.device('meta'):
        keys = mvit.mvit_v1_b().state_dict()
    torch.save({key: torch.zeros(1) for key in keys}, tmp_path / 'v1.pth')
    with pytest.raises(CheckpointError, match='none of the layouts .*torchvision MViTv2'):
        load_public_weights(MViTv2('small', input_size=(4, 96, 96)), tmp_path / 'v1.pth')


def test_image_weights_give_the_outputs_of_their_model(tiny):
    peer, path = tiny
    model = MViTv2('tiny', input_size=(224, 224), **IMAGE).eval()
    load_public_weights(model, path)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model(image).patches, peer.forward_features(image), atol=1e-4, rtol=1e-4)


def test_image_weights_of_another_size_give_the_outputs_of_their_model(tmp_path):
    peer = randomise(timm.create_model('mvitv2_tiny', img_size=160))
    torch.save(peer.state_dict(), tmp_path / 'small.pth')
    model = MViTv2('tiny', input_size=(160, 160), **IMAGE).eval()
    assert not load_public_weights(model, tmp_path / 'small.pth').adapted
    image = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(model(image).patches, peer.forward_features(image), atol=1e-4, rtol=1e-4)


def test_image_weights_start_a_spectrogram_model(tiny):
    peer, path = tiny
    model = MAT('tiny', input_size=(64, 256))
    model.init_weights()
    token = model.cls_token.clone()
    report = load_public_weights(model, path)
    assert report.missing == ['cls_token'] and torch.equal(model.cls_token, token)
    state = peer.state_dict()
    torch.testing.assert_close(model.patch_embed.proj.weight[:, 0], state['patch_embed.proj.weight'].mean(1))
    assert report.adapted['patch_embed.proj.weight'] == '3 channels averaged to 1'
    table = state['stages.0.blocks.0.attn.rel_pos_w']
    rows = 2 * 64 - 1
    expected = F.interpolate(table.t()[None], size=rows, mode='linear')[0].t()
    torch.testing.assert_close(model.blocks[0].attn.rel_pos.tables[1].data, expected)
    assert report.adapted['blocks.0.attn.rel_pos.tables.1'] == f'{len(table)} rows interpolated to {rows}'
    assert torch.equal(model.blocks[3].attn.qkv.weight, state['stages.2.blocks.0.attn.qkv.weight'])
    assert len(report.loaded) + len(report.adapted) + 1 == len(model.state_dict())


def test_other_architecture_is_an_error_unless_asked_for(tiny):
    _, path = tiny
    arch = dict(embed_dims=96, num_layers=11, num_heads=1, stage_blocks=(1, 3, 8))
    with pytest.raises(CheckpointError, match=r'of another architecture: 23 missing \(blocks.10.norm1.weight'):
        load_public_weights(MAT(arch, input_size=(64, 256)), path)
    report = load_public_weights(MAT(arch, input_size=(64, 256)), path, strict=False)
    assert 'blocks.10.norm1.weight' in report.missing and report.loaded
    shallow = dict(embed_dims=96, num_layers=9, num_heads=1, stage_blocks=(1, 3, 8))
    with pytest.raises(CheckpointError, match=r'of another architecture: 2\d unknown \(blocks.9'):
        load_public_weights(MAT(shallow, input_size=(64, 256)), path)
    wide = dict(embed_dims=48, num_layers=10, num_heads=1, stage_blocks=(1, 3, 8))
    with pytest.raises(CheckpointError, match=r'240 of another shape .*\(96,\) for \(48,\)'):
        load_public_weights(MAT(wide, input_size=(64, 256)), path)


def test_misfits_are_one_line(tiny, tmp_path):
    with pytest.raises(
        CheckpointError, match=r'1 of another shape \(patch_embed.proj.weight .*\(96, 1, 16, 16\)'
    ) as caught:
        load_public_weights(MAT('tiny', input_size=(64, 256), patch_kernel=(16, 16)), tiny[1])
    assert '\n' not in str(caught.value)
    torch.save(slowfast(MViTv2('tiny', input_size=(4, 64, 64)).state_dict()), tmp_path / 'video.pth')
    with pytest.raises(CheckpointError, match=r'\(96, 3, 3, 7, 7\) for \(96, 1, 7, 7\)'):
        load_public_weights(MAT('tiny', input_size=(64, 256)), tmp_path / 'video.pth')


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        (lambda value: value.to(torch.int8), 'values of type int8'),
        (lambda value: value * float('nan'), 'values that are not finite'),
        (lambda value: value.to('meta'), 'no values'),
    ],
)
def test_what_nothing_can_begin_from_is_refused(tmp_path, change, what):
    model = AST((16, 26), embed_dims=4, num_layers=1, num_heads=1)
    state = model.state_dict()
    torch.save({**state, 'norm.weight': change(state['norm.weight'])}, tmp_path / 'a.pth')
    before = model.norm.weight.clone()
    with pytest.raises(CheckpointError, match=rf'holds {what} for norm\.weight: give a file of plain numbers'):
        load_public_weights(model, tmp_path / 'a.pth')
    assert torch.equal(model.norm.weight, before)


def test_code_is_refused(tmp_path):
    with open(tmp_path / 'evil.pth', 'wb') as file:
        pickle.dump(dict(model_state=pytest.approx), file, protocol=2)
    with pytest.raises(CheckpointError, match='could run code'):
        load_public_weights(MAT('tiny'), tmp_path / 'evil.pth')


def test_as_init_cfg_of_a_config(tiny):
    cfg = dict(type='MAT', arch='tiny', input_size=(64, 256))
    cfg['init_cfg'] = dict(type='PublicWeights', checkpoint=str(tiny[1]))
    with DefaultScope.overwrite_default_scope('mmav'):
        model = MODELS.build(cfg)
        model.init_weights()
    assert torch.equal(model.blocks[3].attn.qkv.weight, tiny[0].state_dict()['stages.2.blocks.0.attn.qkv.weight'])


def test_the_log_says_where_initial_values_are_from(tiny, tmp_path, capsys):
    """MMEngine says of norms, biases and a backbone alone that nothing was done, and of a file's that they were drawn.

    The report of the file is on the console, which leaves MMEngine's listings out.
    """
    audio = dict(type='MAT', arch='tiny', input_size=(64, 256), init_cfg=dict(type='PublicWeights'))
    audio['init_cfg']['checkpoint'] = str(tiny[1])
    head = dict(type='ClsHead', num_classes=5)
    with DefaultScope.overwrite_default_scope('mmav'):
        model = MODELS.build(dict(type='AVClassifier', backbones=dict(audio=audio), neck=dict(type='Avg'), head=head))
        logger = MMLogger('origins', log_file=str(tmp_path / 'it.log'))
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_short)
        with unittest.mock.patch.object(MMLogger, 'get_current_instance', return_value=logger):
            model.init_weights()
    lines = (tmp_path / 'it.log').read_text().splitlines()
    said = dict(line.split(': ', 1) for line in lines if line.startswith(('backbones.', 'head.')))
    assert said['backbones.audio.blocks.3.attn.qkv.weight (1152, 192)'] == f"loaded from '{tiny[1]}' (timm mvitv2)"
    assert said['backbones.audio.cls_token (1, 1, 96)'] == 'drawn by init_weights of MAT'
    assert said['head.fcs.audio.bias (5,)'] == 'constant 0'
    assert said['head.fcs.audio.weight (5, 768)'] == 'drawn by init_weights of ClsHead'
    assert len(said) == len(list(model.parameters()))
    err = capsys.readouterr()
    console = err.out + err.err
    assert 'weights loaded as they are' in console and 'adapted: ' in console
    assert f'Initial values of {len(said)} parameters: ' in console


@pytest.fixture(scope='module')
def ast_peer():
    return make_ast_peer(1024)


def test_ast_weights_as_transformers_saves_them(ast_peer, tmp_path):
    ast_peer.save_pretrained(tmp_path)
    assert (tmp_path / 'model.safetensors').is_file()
    model = ast()
    report = load_public_weights(model, tmp_path / 'model.safetensors')
    assert report.layout.startswith('transformers') and len(report.loaded) == len(model.state_dict())
    assert torch.equal(model.cls_token, ast_peer.embeddings.cls_token)


def make_ast_peer(frames):
    """transformers' AST with random weights, two layers deep; 12 x 101 patches of 1024 frames."""
    sizes = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192)
    return randomise(ASTModel(ASTConfig(**sizes, layer_norm_eps=1e-6, max_length=frames)))


def ast(frames=1024):
    return AST(input_size=(128, frames), embed_dims=48, num_layers=2, num_heads=4).eval()


def as_transformers_5(state):
    return {f'audio_spectrogram_transformer.{key}': value for key, value in state.items()}


def as_official(state):
    """YuanGongND/ast: module.v.* of a timm DeiT, one projection for queries, keys and values."""
    result = {}
    for key, value in as_transformers_4(state).items():
        if key.startswith('embeddings.'):
            key = key.removeprefix('embeddings.').replace('patch_embeddings.projection', 'patch_embed.proj')
            key = key.replace('distillation_token', 'dist_token').replace('position_embeddings', 'pos_embed')
        key = key.replace('encoder.layer.', 'blocks.').replace('layernorm_before', 'norm1')
        key = key.replace('layernorm_after', 'norm2').replace('attention.output.dense', 'attn.proj')
        key = key.replace('intermediate.dense', 'mlp.fc1').replace('output.dense', 'mlp.fc2')
        result[f'module.v.{key.replace("layernorm.", "norm.")}'] = value
    for n in range(2):
        for part in ('weight', 'bias'):
            names = [f'module.v.blocks.{n}.attention.attention.{name}.{part}' for name in ('query', 'key', 'value')]
            result[f'module.v.blocks.{n}.attn.qkv.{part}'] = torch.cat([result.pop(name) for name in names])
    return {**result, 'module.mlp_head.0.weight': torch.ones(48), 'module.mlp_head.1.weight': torch.ones(5, 48)}


@pytest.mark.parametrize(
    'write', [as_transformers_5, lambda state: as_transformers_4(as_transformers_5(state)), as_official]
)
def test_ast_weights_give_the_outputs_of_their_model(ast_peer, tmp_path, write):
    torch.save(write(ast_peer.state_dict()), tmp_path / 'ast.pth')
    model = ast()
    report = load_public_weights(model, tmp_path / 'ast.pth')
    assert len(report.loaded) == len(model.state_dict()) and not report.missing
    spectrogram = torch.randn(2, 128, 1024, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = ast_peer(spectrogram.transpose(1, 2))
        tokens = model(spectrogram[:, None])
    torch.testing.assert_close(tokens.cls, expected.pooler_output, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected.last_hidden_state[:, 2:], atol=1e-4, rtol=1e-4)


def test_ast_weights_of_another_length_give_the_outputs_of_their_model(tmp_path):
    peer, model = make_ast_peer(300), ast(frames=300)
    torch.save(as_transformers_5(peer.state_dict()), tmp_path / 'ast.pth')
    assert not load_public_weights(model, tmp_path / 'ast.pth').adapted
    spectrogram = torch.randn(1, 128, 300, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer(spectrogram.transpose(1, 2)).pooler_output
        torch.testing.assert_close(model(spectrogram[:, None]).cls, expected, atol=1e-4, rtol=1e-4)


def test_ast_positions_are_cut_as_its_code_does(ast_peer, tmp_path):
    """512 frames, as AST has for ESC-50: columns 50 - 25 to 50 + 25 of the 101."""
    state = as_official(ast_peer.state_dict())
    torch.save(state, tmp_path / 'ast.pth')
    model = ast(frames=512)
    report = load_public_weights(model, tmp_path / 'ast.pth')
    assert report.adapted == {'pos_embed': 'positions of (12, 101) cut to (12, 50)'}
    grid = state['module.v.pos_embed'][:, 2:].reshape(1, 12, 101, 48)
    assert torch.equal(model.pos_embed[:, 2:].data, grid[:, :, 25:75].flatten(1, 2))
    assert torch.equal(model.pos_embed[:, :2], state['module.v.pos_embed'][:, :2])
    load_public_weights(model, tmp_path / 'ast.pth', positions='interpolate')
    expected = F.interpolate(grid.permute(0, 3, 1, 2), size=(12, 50), mode='bilinear').flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.pos_embed[:, 2:].data, expected)


def test_summary_says_all_in_its_first_line(tiny):
    model = MAT('tiny', input_size=(64, 256))
    report = load_public_weights(model, tiny[1])
    first, *others = str(report).splitlines()
    rest = len(model.state_dict()) - 1 - len(report.adapted)
    assert first == (
        f"'{tiny[1]}' (timm mvitv2): {rest} weights loaded as they are, {len(report.adapted)} adapted, 1 missing, "
        '2 unused'
    )
    assert [line.split()[1].rstrip(',:') for line in others] == ['adapted', 'missing', 'in']
    assert 'adapted: patch_embed.proj.weight (3 channels averaged to 1), ' in others[0]
    assert 'blocks.4.attn.rel_pos.tables.0 and 4 more (27 rows interpolated to 7)' in others[0]


def test_choices_reach_the_weights_through_a_config(tiny):
    cfg = dict(type='MAT', arch='tiny', input_size=(64, 256))
    cfg['init_cfg'] = dict(type='PublicWeights', checkpoint=str(tiny[1]), rgb='sum')
    with DefaultScope.overwrite_default_scope('mmav'):
        model = MODELS.build(cfg)
        model.init_weights()
    kernel = tiny[0].state_dict()['patch_embed.proj.weight']
    torch.testing.assert_close(model.patch_embed.proj.weight.data, kernel.sum(1, keepdim=True))


def test_it_is_a_name_of_the_models():
    assert models.PublicWeights is PublicWeights
    with pytest.raises(AttributeError, match="module 'mmav.models' has no attribute 'PublicWeight'"):
        models.PublicWeight  # noqa: B018
