import torch

from mmav.models import ClsHead, TrainingBatch, VerbNounHead
from mmav.structures import Tokens


def make(head, masks=None):
    generator = torch.Generator().manual_seed(0)
    streams = {m: torch.randn(4, 6, generator=generator) for m in ('video', 'audio')}
    tokens = {m: Tokens(x, x[:, None], (1,)) for m, x in streams.items()}
    return TrainingBatch({}, tokens, streams, {}, masks, 1, head.eval())


def test_logits_and_probabilities_are_the_heads():
    masks = dict(video=torch.tensor([True, True, False, True]), audio=torch.ones(4).bool())
    batch = make(ClsHead(3, dict(video=6, audio=6)), masks)
    each = {name: fc(batch.streams[name]) for name, fc in batch.head.fcs.items()}
    torch.testing.assert_close(batch.logits, dict(label=each))
    expected = sum(value.softmax(-1) for value in each.values()) / 2
    expected[2] = each['audio'].softmax(-1)[2]
    torch.testing.assert_close(batch.probabilities, dict(label=expected))
    assert torch.equal(batch.mask_of('video'), masks['video'])


def test_parts_of_the_label():
    batch = make(VerbNounHead(3, 4, dict(video=6, audio=6)))
    shapes = {part: {m: tuple(x.shape) for m, x in each.items()} for part, each in batch.logits.items()}
    assert shapes == dict(verb=dict(video=(4, 3), audio=(4, 3)), noun=dict(video=(4, 4), audio=(4, 4)))
    assert {part: tuple(x.shape) for part, x in batch.probabilities.items()} == dict(verb=(4, 3), noun=(4, 4))
    assert batch.mask_of('video') is None
