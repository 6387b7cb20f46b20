import pytest
import torch

from mmav.models import Avg
from mmav.structures import Tokens


def test_streams_are_the_class_embeddings():
    tokens = {m: Tokens(torch.randn(2, d), torch.randn(2, 6, d), (2, 3)) for m, d in (('video', 4), ('audio', 8))}
    neck = Avg(dict(video=4, audio=8))
    streams = neck(tokens)
    assert neck.out_dims == dict(video=4, audio=8)
    assert list(streams) == ['video', 'audio']
    assert all(torch.equal(streams[m], tokens[m].cls) for m in tokens)


def test_needs_a_modality():
    with pytest.raises(ValueError, match='needs the width of at least one modality'):
        Avg()
