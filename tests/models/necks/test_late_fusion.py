import pytest
import torch

from mmav.models import Avg, Concat
from mmav.structures import Tokens


def test_streams_are_the_class_embeddings():
    tokens = {m: Tokens(torch.randn(2, d), torch.randn(2, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}
    neck = Avg(dict(video=4, audio=8))
    streams = neck(tokens)
    assert neck.out_dims == dict(video=4, audio=8)
    assert list(streams) == ['video', 'audio']
    assert all(torch.equal(streams[m], tokens[m].cls) for m in tokens)


def test_avg_needs_a_modality():
    with pytest.raises(ValueError, match='needs the width of at least one modality'):
        Avg()


def make_tokens():
    return {m: Tokens(torch.randn(3, d), torch.randn(3, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}


def test_class_embeddings_side_by_side():
    tokens = make_tokens()
    neck = Concat(dict(video=4, audio=8))
    assert neck.out_dims == {'fused': 12}
    assert torch.equal(neck(tokens)['fused'], torch.cat((tokens['video'].cls, tokens['audio'].cls), dim=-1))


def test_absent_modality_reaches_nothing():
    tokens = make_tokens()
    tokens['audio'].cls[1] = float('nan')
    masks = dict(video=torch.tensor([True, True, False]), audio=torch.tensor([True, False, True]))
    fused = Concat(dict(video=4, audio=8))(tokens, masks)['fused']
    assert (fused[1, 4:] == 0).all() and (fused[2, :4] == 0).all()
    assert torch.equal(fused[1, :4], tokens['video'].cls[1])
    assert torch.equal(fused[2, 4:], tokens['audio'].cls[2])


def test_one_modality_is_enough_none_is_not():
    tokens = make_tokens()
    assert torch.equal(Concat(dict(audio=8))(tokens)['fused'], tokens['audio'].cls)
    with pytest.raises(ValueError, match='Concat needs the width of at least one modality, got in_dims=None'):
        Concat()
