import torch

from mmav.models import AVClassifier, CachedBackbone
from mmav.models.av_classifier import tokens_of
from mmav.models.backbones.base import input_shape


def test_it_hands_on_what_it_gets():
    x = torch.randn(2, 1 + 6, 8)
    backbone = CachedBackbone(8, (2, 3))
    tokens = tokens_of(backbone, x, 'video')  # the contract
    assert torch.equal(tokens.cls, x[:, 0])
    assert torch.equal(tokens.patches, x[:, 1:])
    assert tokens.grid == (2, 3)
    assert input_shape(backbone) == (7, 8)
    assert not backbone.state_dict()


def test_class_embeddings_alone():
    tokens = tokens_of(CachedBackbone(8), torch.randn(2, 1, 8), 'video')
    assert tokens.patches.shape == (2, 0, 8)


def test_a_model_of_features():
    model = AVClassifier(
        dict(video=dict(type='CachedBackbone', out_dims=8, grid=(2, 3)), audio=dict(type='CachedBackbone', out_dims=4)),
        dict(type='AVBottleneck', embed_dims=8, num_blocks=1, num_heads=2),
        dict(type='ClsHead', num_classes=5),
    )
    scores = model(dict(video=torch.randn(3, 2, 7, 8), audio=torch.randn(3, 1, 1, 4)))
    assert scores['label'].shape == (3, 5)
