import torch

from mmav.checkpoints import load_checkpoint_file
from mmav.engine.loading import load_weights
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
    for name, model in (('v', video), ('a', audio)):
        grids = {f'backbones.{name}.pos_embed': [2, 3]}  # as a ViT and an AST have
        torch.save(dict(meta=dict(position_grids=grids), state_dict=model.state_dict()), tmp_path / f'{name}.pth')
    assert toys.run_tool(TOOL, tmp_path / 'v.pth', tmp_path / 'a.pth', '--out', tmp_path / 'avg.pth') == 0
    both = make('video', 'audio')
    merged = load_checkpoint_file(tmp_path / 'avg.pth')
    assert merged['meta']['position_grids'] == {'backbones.v.pos_embed': (2, 3), 'backbones.a.pos_embed': (2, 3)}
    load_weights(both, merged['state_dict'], 'avg.pth', strict=True)
    inputs = dict(video=torch.randn(3, 1, 3, 4, 16, 16), audio=torch.randn(3, 1, 1, 16, 32))
    expected = (video(inputs)['label'] + audio(inputs)['label']) / 2
    torch.testing.assert_close(both(inputs)['label'], expected)


def test_mistakes_are_one_line(tmp_path, capsys):
    torch.save(dict(state_dict=make('video').state_dict()), tmp_path / 'v.pth')
    torch.save(dict(state_dict=dict(conv=torch.zeros(1))), tmp_path / 'x.pth')
    for other, message in (('v.pth', 'repeats'), ('x.pth', 'no backbone of mmav'), ('none.pth', 'no checkpoint')):
        assert toys.run_tool(TOOL, tmp_path / 'v.pth', tmp_path / other, '--out', tmp_path / 'o.pth') == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / 'o.pth').exists()


def save(path, model, classes):
    torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=model.state_dict()), path)
    return path


def test_heads_of_the_same_names_in_another_order(tmp_path, capsys):
    names, order = list('abcde'), [4, 2, 0, 1, 3]
    video, audio = make('video'), make('audio')
    same = {name: value.clone() for name, value in audio.state_dict().items()}
    turned = {name: value[order] if name.startswith('head.') else value for name, value in same.items()}
    one = save(tmp_path / 'v.pth', video, names)
    audio.load_state_dict(turned)
    two = save(tmp_path / 'a.pth', audio, [names[k] for k in order])
    assert run_tool(one, two, out=tmp_path / 'avg.pth') == 0
    assert "a.pth' has the classes in another order" in capsys.readouterr().out
    merged = load_checkpoint_file(tmp_path / 'avg.pth')
    assert merged['meta']['dataset_meta']['classes'] == tuple(names)
    for name, value in same.items():
        assert torch.equal(merged['state_dict'][name], value)


def test_heads_of_other_classes_are_not_averaged(tmp_path, capsys):
    one = save(tmp_path / 'v.pth', make('video'), list('abcde'))
    two = save(tmp_path / 'a.pth', make('audio'), list('abcdx'))
    assert run_tool(one, two, out=tmp_path / 'avg.pth') == 2
    told = "was trained with other classes than the one before (only the one before has 'e'; only "
    assert told in capsys.readouterr().err
    audio = make('audio')
    audio.head = MODELS.build(
        dict(type='ClsHead', num_classes=3, in_dims=dict(audio=audio.head.fcs['audio'].in_features))
    )
    torch.save(dict(state_dict=audio.state_dict()), two)
    assert run_tool(one, two, out=tmp_path / 'avg.pth') == 2
    assert 'tells 3 classes apart, the one before 5' in capsys.readouterr().err


def run_tool(*checkpoints, out):
    return toys.run_tool(TOOL, *checkpoints, '--out', out)


def test_models_of_any_number_of_labels(tmp_path, capsys):
    for name in ('video', 'audio'):
        torch.save(dict(meta=dict(multi_label=True), state_dict=make(name).state_dict()), tmp_path / f'{name}.pth')
    paths = [tmp_path / 'video.pth', tmp_path / 'audio.pth', '--out', tmp_path / 'avg.pth']
    assert toys.run_tool(TOOL, *paths) == 0
    assert load_checkpoint_file(tmp_path / 'avg.pth')['meta']['multi_label'] is True
    torch.save(dict(meta=dict(multi_label=False), state_dict=make('audio').state_dict()), tmp_path / 'audio.pth')
    assert toys.run_tool(TOOL, *paths[:3], tmp_path / 'other.pth') == 2
    assert "audio.pth' was trained with one label a clip, the one before with any number" in capsys.readouterr().err
