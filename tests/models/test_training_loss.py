import copy

import pytest
import torch
from torch import nn

from mmav.checkpoints import CheckpointError
from mmav.engine.loading import load_weights
from mmav.errors import ConfigError
from mmav.models.training_loss import is_for_training
from mmav.registry import MODELS
from mmav.structures import AVDataSample

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
UNIMODAL = dict(unimodal=dict(type='UnimodalHeads'))


@MODELS.register_module()
class SeesAll(nn.Module):
    """Keeps what it is given, and asks for the widths of the streams."""

    def __init__(self, stream_dims, key='loss_seen'):
        super().__init__()
        self.scale, self.stream_dims, self.key = nn.Parameter(torch.ones(())), stream_dims, key
        self.batches = []

    def loss(self, batch):
        self.batches.append(batch)
        return {self.key: self.scale * batch.streams['fused'].mean()}


def config(auxiliary=None, **kwargs):
    return dict(
        type='AVClassifier',
        backbones=dict(
            video=dict(type='MViTv2', arch=ARCH, input_size=(2, 16, 16)),
            audio=dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)]),
        ),
        neck=dict(type='Concat'),
        head=dict(type='ClsHead', num_classes=3),
        auxiliary=auxiliary,
        **kwargs,
    )


def make(*args, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(config(*args, **kwargs))
    model.init_weights()
    return model


def batch(views=(2, 1)):
    generator = torch.Generator().manual_seed(0)
    inputs = dict(
        video=torch.randn(3, views[0], 3, 2, 16, 16, generator=generator),
        audio=torch.randn(3, views[1], 1, 16, 32, generator=generator),
    )
    return inputs, [AVDataSample().set_gt_label(i) for i in range(3)]


def test_a_part_sees_every_view_as_a_clip():
    model, (inputs, samples) = make(dict(all=dict(type='SeesAll'))).eval(), batch()
    masks = dict(video=torch.ones(3).bool(), audio=torch.tensor([True, False, True]))
    losses = model(inputs, samples, masks=masks, mode='loss')
    assert list(losses) == ['loss_cls', 'top1', 'loss_seen']
    seen = model.auxiliary['all'].batches[0]
    assert seen.views == 2 and seen.inputs is inputs and seen.targets['label'].tolist() == [0, 0, 1, 1, 2, 2]
    assert seen.masks['audio'].tolist() == [True, True, False, False, True, True]
    assert {m: len(tokens.cls) for m, tokens in seen.tokens.items()} == dict(video=6, audio=6)
    assert torch.equal(seen.tokens['audio'].cls[::2], seen.tokens['audio'].cls[1::2])
    assert model.auxiliary['all'].stream_dims == {'fused': seen.streams['fused'].shape[1]}
    torch.testing.assert_close(seen.probabilities['label'][::2], model(dict(inputs, video=inputs['video'][:, :1]),
                               masks=masks)['label'])  # fmt: skip


def test_only_training_runs_a_part():
    model, (inputs, samples) = make(dict(all=dict(type='SeesAll'))).eval(), batch()
    model(inputs)
    model(inputs, samples, mode='predict')
    assert model.auxiliary['all'].batches == []


def test_other_parts_begin_and_train_as_without():
    plain, model = make().train(), make(UNIMODAL).train()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    found = model(*batch(), mode='loss')
    assert {'loss_video', 'loss_audio', 'top1_video', 'top1_audio'} <= set(found)
    torch.testing.assert_close(found['loss_cls'], plain(*batch(), mode='loss')['loss_cls'])
    assert len(make(dict(unimodal=None)).auxiliary) == 0


def test_two_parts_of_one_name():
    model = make(dict(one=dict(type='SeesAll'), two=dict(type='SeesAll')))
    with pytest.raises(ConfigError, match=r'model\.auxiliary\.two: loss_seen is there already, of another part'):
        model(*batch(), mode='loss')


@pytest.mark.parametrize(
    ('part', 'text'),
    [
        (dict(type='Concat'), r'model\.auxiliary\.odd: Concat has no loss\(batch\)'),
        (
            dict(type='UnimodalHeads', head=dict(type='ClsHead', num_classes=4)),
            'its ClsHead of label has num_classes=4, the model.head num_classes=3',
        ),
        (
            dict(type='UnimodalHeads', head=dict(type='MultiLabelHead', num_classes=3)),
            'its MultiLabelHead of label has multi_label=True, the model.head multi_label=False',
        ),
    ],
)
def test_a_part_that_does_not_fit(part, text):
    with pytest.raises(ConfigError, match=text):
        make(dict(odd=part))


def test_a_trained_model_does_without():
    plain, model = make(), make(UNIMODAL)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    load_weights(plain, model.state_dict(), 'a.pth')
    assert torch.equal(plain.head.fcs['fused'].weight, model.head.fcs['fused'].weight)
    with pytest.raises(CheckpointError, match='4 unknown'):
        load_weights(plain, model.state_dict(), 'a.pth', whole=True)
    again, kept = make(UNIMODAL), copy.deepcopy(make(UNIMODAL).state_dict())
    load_weights(again, plain.state_dict(), 'a.pth')
    torch.testing.assert_close(again.state_dict(), {**kept, **plain.state_dict()}, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match='4 missing'):
        load_weights(again, plain.state_dict(), 'a.pth', whole=True)
    load_weights(again, model.state_dict(), 'a.pth', whole=True)


def test_parts_that_testing_needs_have_to_fit():
    model, name = make(UNIMODAL), 'auxiliary.unimodal.heads.video.fcs.video.weight'
    assert is_for_training(name, model) and not is_for_training('head.fcs.fused.weight', model)
    model.auxiliary['unimodal'].in_testing = True
    assert not is_for_training(name, model) and is_for_training('auxiliary.other.weight', model)
    with pytest.raises(CheckpointError, match='4 missing'):
        load_weights(model, make().state_dict(), 'a.pth')
