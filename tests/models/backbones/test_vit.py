import timm
import torch

from mmav.models import ViT
from tests.models.peers import randomise

SMALL = dict(embed_dims=8, num_layers=2, num_heads=2)


def test_image_model_equals_timm():
    peer = randomise(timm.create_model('vit_tiny_patch16_224', img_size=64, depth=3, num_classes=0))
    model = ViT((64, 64), patch_kernel=(16, 16), embed_dims=192, num_layers=3, num_heads=3).eval()
    model.load_state_dict(peer.state_dict())  # the names are the same
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = peer.forward_features(image)
        tokens = model(image)
    torch.testing.assert_close(tokens.cls, expected[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.patches, expected[:, 1:], atol=1e-4, rtol=1e-4)


def test_clip_of_equal_frames_equals_the_image_model():
    # a tubelet of two frames, each with half the image kernel, sees an image held still as the image model does
    image_model = randomise(ViT((32, 48), patch_kernel=(16, 16), **SMALL))
    model = ViT((2, 32, 48), **SMALL).eval()
    state = image_model.state_dict()
    state['patch_embed.proj.weight'] = state['patch_embed.proj.weight'][:, :, None].expand(-1, -1, 2, -1, -1) / 2
    model.load_state_dict(state)
    image = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    tokens, expected = model(image[:, :, None].expand(-1, -1, 2, -1, -1)), image_model(image)
    assert tokens.grid == (1, *expected.grid)
    torch.testing.assert_close(tokens.cls, expected.cls)
    torch.testing.assert_close(tokens.patches, expected.patches)


def test_default_is_vit_b_on_tubelets():
    with torch.device('meta'):
        model = ViT()
        tokens = model(torch.zeros(1, 3, 16, 224, 224))
    assert tokens.grid == (8, 14, 14)
    assert tokens.patches.shape == (1, 1568, 768)
    assert len(model.blocks) == 12 and model.dist_token is None


def test_other_size_and_stride():
    model = ViT((4, 32, 48), patch_kernel=(1, 16, 16), **SMALL).eval()
    model.init_weights()
    assert model(torch.randn(1, 3, 6, 48, 32)).grid == (6, 3, 2)
    assert ViT((4, 32, 48), patch_stride=(1, 16, 16), **SMALL).grid == (3, 2, 3)
