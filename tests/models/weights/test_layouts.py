import pytest
import timm
import torch

from mmav.errors import CheckpointError
from mmav.models import MViTv2
from mmav.models.weights.layouts import find_layout, state_of, to_ours
from tests.models.weights.files import openmmlab, slowfast

ARCH = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))


def video():
    return MViTv2(ARCH, input_size=(4, 32, 32)).state_dict()


def image():
    args = dict(patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(4, 4), cls_token=False)
    return MViTv2(ARCH, input_size=(32, 32), **args).state_dict()


FILES = {
    'SlowFast MViTv2 (video)': lambda: (video(), slowfast(video())),
    'facebookresearch/mvit MViTv2 (image)': lambda: (image(), slowfast(image())),
    'OpenMMLab MViTv2 (mmaction2, mmpretrain)': lambda: (video(), openmmlab(video(), 'cls_head.fc_cls')),
}


@pytest.mark.parametrize('name', FILES)
def test_files_are_recognised_and_every_key_comes_back(name):
    ours, checkpoint = FILES[name]()
    state = state_of(checkpoint)
    layout = find_layout(state)
    assert layout.name == name
    renamed, head = to_ours(state, layout)
    assert renamed.keys() == ours.keys()
    assert len(head) == 2


def test_mmpretrain_has_no_class_token():
    ours = image()
    state = state_of(openmmlab(ours, 'head.fc'))
    renamed, head = to_ours(state, find_layout(state))
    assert renamed.keys() == ours.keys() and head == ['head.fc.weight', 'head.fc.bias']


def test_timm_itself():
    state = timm.create_model('mvitv2_tiny').state_dict()
    layout = find_layout(state)
    assert layout.name == 'timm mvitv2'
    args = dict(patch_kernel=(7, 7), patch_stride=(4, 4), kv_stride=(4, 4), cls_token=False)
    with torch.device('meta'):
        ours = MViTv2('tiny', input_size=(224, 224), **args).state_dict()
    renamed, head = to_ours(state, layout)
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in ours.items()}
    assert head == ['head.fc.weight', 'head.fc.bias']


def test_strange_file_is_refused_by_name():
    state = timm.create_model('resnet18').state_dict()
    with pytest.raises(CheckpointError, match="'r18.pth' is of none of the layouts .*SlowFast.*conv1.weight"):
        find_layout(state, 'r18.pth')
    with pytest.raises(CheckpointError, match='it holds no tensor'):
        find_layout({}, 'empty.pth')
