import pytest
import timm
import torch

from mmav.errors import CheckpointError
from mmav.models import MViTv2
from mmav.models.weights.layouts import begin_time, find_layout, state_of, to_ours
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


@pytest.mark.parametrize('prefix', ['module.', '_orig_mod.', 'model.', 'module._orig_mod.'])
def test_prefix_of_a_wrapped_model_is_dropped(prefix):
    ours = image()
    wrapped = {f'{prefix}{key}': value for key, value in slowfast(ours)['model_state'].items()}
    state = state_of(dict(epoch=3, model_state=wrapped))
    assert find_layout(state).name == 'facebookresearch/mvit MViTv2 (image)'
    assert to_ours(state, find_layout(state))[0].keys() == ours.keys()


def test_norms_of_several_outputs_are_not_mixed_up():
    state = state_of(openmmlab(image(), 'head.fc'))
    state['backbone.norm0.weight'] = torch.ones(8)
    with pytest.raises(
        CheckpointError, match=r"'backbone.norm3.weight' and 'backbone.norm0.weight' are both norm.weight"
    ):
        to_ours(state, find_layout(state))


def test_rows_and_columns_of_pictures_make_room_for_time():
    picture, clip = image(), video()
    moved, begun = begin_time(picture, clip)
    assert moved.keys() | {'cls_token'} == clip.keys()
    assert begun == [f'blocks.{n}.attn.rel_pos.tables.0' for n in range(3)]
    for n in range(3):
        of_block = [f'blocks.{n}.attn.rel_pos.tables.{axis}' for axis in range(3)]
        assert moved[of_block[0]].shape == clip[of_block[0]].shape and not moved[of_block[0]].any()
        assert moved[of_block[1]] is picture[of_block[0]] and moved[of_block[2]] is picture[of_block[1]]


def test_tables_of_the_same_rank_stay():
    for state in (image(), video()):
        assert begin_time(state, state) == (state, [])
    assert begin_time(video(), image())[1] == []
