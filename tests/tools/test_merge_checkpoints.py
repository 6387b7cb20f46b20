import torch

from mmav.engine.checkpoint_io import load_checkpoint_file, load_weights
from mmav.registry import MODELS
from tests import toys

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
BACKBONES = dict(
    video=dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16)),
    audio=dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)]),
)
TOOL = 'model_converters/merge_checkpoints.py'


def make(*modalities):
    backbones = {name: BACKBONES[name] for name in modalities}
    head = dict(type='ClsHead', num_classes=5)
    model = MODELS.build(dict(type='AVClassifier', backbones=backbones, neck=dict(type='Avg'), head=head)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_merged_model_averages_the_probabilities(tmp_path):
    torch.manual_seed(0)
    video, audio = make('video'), make('audio')
    torch.save(dict(meta={}, state_dict=video.state_dict()), tmp_path / 'v.pth')
    torch.save(dict(meta={}, state_dict=audio.state_dict()), tmp_path / 'a.pth')
    assert toys.run_tool(TOOL, tmp_path / 'v.pth', tmp_path / 'a.pth', '--out', tmp_path / 'avg.pth') == 0
    both = make('video', 'audio')
    load_weights(both, load_checkpoint_file(tmp_path / 'avg.pth')['state_dict'], 'avg.pth', strict=True)
    inputs = dict(video=torch.randn(3, 1, 3, 4, 16, 16), audio=torch.randn(3, 1, 1, 16, 32))
    torch.testing.assert_close(both(inputs), (video(inputs) + audio(inputs)) / 2)


def test_mistakes_are_one_line(tmp_path, capsys):
    torch.save(dict(state_dict=make('video').state_dict()), tmp_path / 'v.pth')
    torch.save(dict(state_dict=dict(conv=torch.zeros(1))), tmp_path / 'x.pth')
    for other, message in (('v.pth', 'repeats'), ('x.pth', 'no backbone of mmav'), ('none.pth', 'no checkpoint')):
        assert toys.run_tool(TOOL, tmp_path / 'v.pth', tmp_path / other, '--out', tmp_path / 'o.pth') == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / 'o.pth').exists()
