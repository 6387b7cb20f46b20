"""What models of transformers read and give, beside the families of test_hf.py."""

import pytest
import torch
import torchaudio.compliance.kaldi  # noqa: F401 (its tensors must not be made on the meta device)
import transformers
from torch import nn

from mmav.errors import ConfigError
from mmav.models.backbones.hf_layout import blocks_of, default_size, kind_of, prune, read_layout


def encoder(model_type, **config):
    with torch.device('meta'):
        return transformers.AutoModel.from_config(transformers.AutoConfig.for_model(model_type, **config))


SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)


@pytest.mark.parametrize(
    ('model', 'grid', 'extra', 'embedding'),
    [
        (('deit', dict(SIZES, image_size=32, patch_size=16)), (2, 2), 2, 'token'),
        (('beit', dict(SIZES, image_size=32, patch_size=16)), (2, 2), 1, 'pooler'),
        (('dinov3_vit', dict(SIZES, image_size=32, patch_size=16, num_register_tokens=2)), (2, 2), 3, 'pooler'),
        (
            ('swin', dict(embed_dim=8, depths=[1, 1], num_heads=[1, 2], image_size=32, patch_size=4, window_size=2)),
            (4, 4), 0, 'pooler',
        ),
        (('convnext', dict(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)), (4, 4), 0, 'pooler'),
        (('resnet', dict(hidden_sizes=[8, 16], depths=[1, 1], embedding_size=8)), (4, 4), 0, 'pooler'),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and isinstance(value[0], str) else None,
)  # fmt: skip
def test_other_image_models_are_read_too(model, grid, extra, embedding):
    made = encoder(model[0], **model[1])
    layout = read_layout(made, (1, 32, 32), 'auto', who=model[0])
    assert (layout.kind, layout.grid, layout.num_extra, layout.embedding) == ('image', grid, extra, embedding)
    assert layout.num_class == (2 if model[0] == 'deit' else 1)
    assert all('mask_token' in name for name in layout.idle), layout.idle
    assert len(blocks_of(made)) >= 2


def test_a_pooler_for_classification_is_left_out_unless_asked_for():
    config = dict(SIZES, image_size=32, patch_size=16)
    plain, asked = encoder('vit', **config), encoder('vit', **config)
    prune(plain, 'auto')
    prune(asked, 'pooler')
    assert plain.pooler is None and asked.pooler is not None


def test_models_that_are_no_encoders_are_refused():
    with pytest.raises(ConfigError, match=r'^model: GPT2Model reads text; HFBackbone takes encoders of images'):
        kind_of(encoder('gpt2', n_embd=8, n_layer=1, n_head=1, vocab_size=9))
    speech = encoder('speech_to_text', d_model=8, encoder_layers=1, decoder_layers=1, vocab_size=9)
    with pytest.raises(
        ConfigError, match=r'^model: Speech2TextModel reads input_features; HFBackbone takes encoders of im'
    ):
        kind_of(speech)


def test_sizes_come_from_the_config():
    assert default_size(
        encoder('vjepa2', **dict(hidden_size=24, num_attention_heads=2, num_hidden_layers=1)).config, 'video'
    ) == (64, 256, 256)
    assert default_size(transformers.ViTConfig(image_size=48), 'image') == (8, 48, 48)
    assert default_size(transformers.ASTConfig(), 'spectrogram') == (128, 1024)
    assert default_size(transformers.WhisperConfig(), 'spectrogram') == (80, 3000)
    assert default_size(transformers.ResNetConfig(), 'image') is None


def test_blocks_of_a_network_of_its_own_are_its_longest_list():
    net = nn.ModuleDict(
        dict(few=nn.ModuleList([nn.Linear(2, 2)]), many=nn.ModuleList(nn.Linear(2, 2) for _ in range(3)))
    )
    assert blocks_of(net) == tuple(net['many']) and blocks_of(nn.Linear(2, 2)) == ()
