import pytest
import torch

from mmav.models.necks.joining import FusionNeck, absent_to_zero
from mmav.structures import Tokens


def test_class_token_goes_first_and_widths_are_brought_together():
    tokens = {m: Tokens(torch.randn(2, d), torch.randn(2, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}
    neck = FusionNeck(dict(audio=8, video=4), 4, order=('video', 'audio'))
    streams, key_masks = neck.join(tokens, None)
    assert list(streams) == ['video', 'audio']
    assert torch.equal(streams['video'][:, 0], tokens['video'].cls)
    assert torch.equal(streams['video'][:, 1:], tokens['video'].patches)
    torch.testing.assert_close(streams['audio'][:, 0], neck.adapt['audio'](tokens['audio'].cls))
    assert key_masks == {}
    fused = neck.class_tokens(streams)['fused']
    assert fused.shape == (2, neck.out_dims['fused'])
    torch.testing.assert_close(fused[:, 4:], neck.norms['audio'](streams['audio'][:, 0]))


def test_absent_modality_is_zero_and_masked():
    tokens = dict(audio=Tokens(torch.full((2, 4), float('nan')), torch.full((2, 6, 4), float('nan')), (2, 3)))
    neck = FusionNeck(dict(audio=4), 4, order=('audio',))
    streams, key_masks = neck.join(tokens, dict(audio=torch.tensor([False, True])))
    assert (streams['audio'][0] == 0).all() and streams['audio'][1].isnan().all()
    assert not key_masks['audio'][0].any() and key_masks['audio'][1].all()
    assert key_masks['audio'].shape == (2, 7)


def test_absent_to_zero_stops_gradients():
    x = torch.ones(2, 3, requires_grad=True)
    absent_to_zero(x, torch.tensor([True, False])).sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_order_and_widths_must_name_the_same_modalities():
    for in_dims in (None, dict(video=4)):
        with pytest.raises(ValueError, match=r"FusionNeck needs the widths of \('video', 'audio'\), got in_dims="):
            FusionNeck(in_dims, 4, order=('video', 'audio'))
