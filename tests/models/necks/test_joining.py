import pytest
import torch

from mmav.models.necks.joining import absent_to_zero, adapters, check_dims, join
from mmav.structures import Tokens


def test_class_token_goes_first_and_widths_are_brought_together():
    tokens = {m: Tokens(torch.randn(2, d), torch.randn(2, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}
    adapt = adapters(dict(video=4, audio=8), 4)
    streams, key_masks = join(tokens, None, adapt)
    assert torch.equal(streams['video'][:, 0], tokens['video'].cls)
    assert torch.equal(streams['video'][:, 1:], tokens['video'].patches)
    torch.testing.assert_close(streams['audio'][:, 0], adapt['audio'](tokens['audio'].cls))
    assert key_masks == {}


def test_absent_modality_is_zero_and_masked():
    tokens = dict(audio=Tokens(torch.full((2, 4), float('nan')), torch.full((2, 6, 4), float('nan')), (2, 3)))
    streams, key_masks = join(tokens, dict(audio=torch.tensor([False, True])), adapters(dict(audio=4), 4))
    assert (streams['audio'][0] == 0).all() and streams['audio'][1].isnan().all()
    assert not key_masks['audio'][0].any() and key_masks['audio'][1].all()
    assert key_masks['audio'].shape == (2, 7)


def test_absent_to_zero_stops_gradients():
    x = torch.ones(2, 3, requires_grad=True)
    absent_to_zero(x, torch.tensor([True, False])).sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_widths_come_in_the_order_asked_for():
    assert list(check_dims('Neck', dict(audio=4, video=8), ('video', 'audio')).items()) == [('video', 8), ('audio', 4)]
    with pytest.raises(ValueError, match=r"Neck needs the widths of \('video', 'audio'\), got in_dims=None"):
        check_dims('Neck', None, ('video', 'audio'))
