import pytest
import torch
from torch import nn

from mmav.adapting import position_grids
from mmav.errors import CheckpointError
from mmav.models import AST, MAT, MViTv2
from mmav.models.weights import load_public_weights
from mmav.models.weights.own_checkpoint import find_backbone
from tests.models.peers import randomise

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
SMALL = dict(embed_dims=8, num_layers=1, num_heads=1)


def mat(size=(32, 64)):
    return MAT(ARCH, input_size=size, q_strides=[(1, 2)])


def save(path, **backbones):
    """As ``tools/train.py`` does."""
    model = nn.ModuleDict(dict(backbones=nn.ModuleDict(backbones), head=nn.Linear(2, 2)))
    torch.save(dict(meta=dict(position_grids=position_grids(model)), state_dict=model.state_dict()), path)
    return path


def test_encoder_of_the_same_kind_is_found(tmp_path):
    video, audio = (randomise(model) for model in (MViTv2(ARCH, input_size=(4, 32, 32)), mat()))
    path = save(tmp_path / 'both.pth', video=video, audio=audio)
    model = mat()
    report = load_public_weights(model, path)
    assert report.layout == 'mmav, backbones.audio' and not (report.missing or report.adapted)
    torch.testing.assert_close(dict(model.state_dict()), dict(audio.state_dict()))
    assert 'head.weight' in report.unused and 'backbones.video.norm.weight' in report.unused


@pytest.mark.parametrize('size', [(32, 128), (32, 48)])
@pytest.mark.parametrize('make', [mat, lambda size=(32, 64): AST(size, **SMALL)], ids=['MAT', 'AST'])
def test_another_input_size_is_what_it_is_at_run_time(tmp_path, make, size):
    """Interpolated, also where AST's public positions would be cut."""
    trained, model = randomise(make()), make(size).eval()
    load_public_weights(model, save(tmp_path / 'own.pth', audio=trained))
    x = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x).patches, trained(x).patches)


def test_none_or_several_are_one_line(tmp_path):
    assert find_backbone({'blocks.0.norm.weight': torch.zeros(1)}, mat()) == ''
    path = save(tmp_path / 'a.pth', one=mat(), other=mat())
    with pytest.raises(
        CheckpointError, match=r'holds 2 encoders \(backbones.one., .*\), of which 2 have patches as MAT'
    ):
        load_public_weights(mat(), path)
    with pytest.raises(CheckpointError, match='of which 0 have patches as MViTv2 has'):
        load_public_weights(MViTv2(ARCH, input_size=(4, 32, 32)), path)
