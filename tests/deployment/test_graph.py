from contextlib import suppress

import pytest
import torch
from torch import nn

from mmav.deployment.graph import ExportGraph, traceable
from mmav.models.layers import PatchEmbed
from mmav.registry import MODELS
from tests.apis.models import AUDIO, BOTTLENECK, VIDEO

SHAPES = dict(video=(3, 4, 32, 32), audio=(1, 16, 200))


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    built = MODELS.build(
        dict(
            type='AVClassifier',
            data_preprocessor=dict(type='AVDataPreprocessor', norm=dict(video=dict(mean=[9, 8, 7], std=[5, 6, 7]))),
            backbones=dict(video=VIDEO, audio=AUDIO),
            neck=BOTTLENECK,
            head=dict(type='ClsHead', num_classes=3),
        )
    )
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.3)
    return built


def test_is_the_model_behind_its_preprocessor(model):
    graph = ExportGraph(model, SHAPES)
    assert graph.input_names == ['video', 'audio', 'video_mask', 'audio_mask'] and not graph.training
    video = torch.randint(0, 256, (2, *SHAPES['video']), dtype=torch.uint8)
    audio, there, partly = torch.randn(2, *SHAPES['audio']), torch.tensor([True, True]), torch.tensor([True, False])
    data = dict(
        inputs=dict(video=video[:, None], audio=audio[:, None]),
        masks=dict(video=there, audio=partly),
        data_samples=None,
    )
    expected = model(**{k: v for k, v in model.data_preprocessor(data).items() if k != 'data_samples'})
    torch.testing.assert_close(graph(video, audio, there, partly), expected)


def test_what_is_dropped_is_absent(model):
    graph = ExportGraph(model, SHAPES, ['video'])
    assert graph.input_names == ['audio']
    audio = torch.randn(2, *SHAPES['audio'])
    masks = dict(video=torch.tensor([False] * 2), audio=torch.tensor([True] * 2))
    noise = torch.randn(2, 1, *SHAPES['video'])
    torch.testing.assert_close(graph(audio), model(dict(video=noise, audio=audio[:, None]), masks=masks))


def test_traceable_gives_the_same_views_and_leaves_nothing_behind(model):
    x = torch.arange(120).reshape(2, 3, 4, 5)
    before = torch.Tensor.unflatten, torch.Tensor.movedim
    calls = [
        lambda: x.unflatten(-2, (2, -1)),
        lambda: x.unflatten(0, (1, 2)),
        lambda: x.movedim(-1, 1),
        lambda: x.movedim((0, 3), (-1, -4)),
    ]
    expected = [call() for call in calls]
    with suppress(KeyError), traceable(model):
        assert torch.Tensor.unflatten is not before[0]
        for call, value in zip(calls, expected, strict=True):
            assert call().equal(value) and call().stride() == value.stride()
        raise KeyError
    assert (torch.Tensor.unflatten, torch.Tensor.movedim) == before
    assert not any(module._forward_hooks for module in model.modules() if isinstance(module, PatchEmbed))
