import torch

from mmav.models import MViTv2, ViT
from mmav.models.weights import load_public_weights
from tests import toys
from tests.models.weights.files import slowfast
from tests.models.weights.test_cav_mae import CAVMAE

ARCH = dict(embed_dims=8, num_layers=3, num_heads=1, stage_blocks=(1, 2))


def test_looks_and_writes(tmp_path, capsys):
    model = MViTv2(ARCH, input_size=(4, 32, 32))
    model.init_weights()
    torch.save(slowfast(model.state_dict()), tmp_path / 'public.pyth')
    tool = 'model_converters/convert_weights.py'
    assert toys.run_tool(tool, tmp_path / 'public.pyth', '--keys') == 0
    printed = capsys.readouterr().out
    assert 'SlowFast MViTv2 (video)' in printed and 'head.projection.weight' in printed
    assert 'blocks.0.attn.pool_q.conv.weight (8, 1, 3, 3, 3) float32' in printed
    assert toys.run_tool(tool, tmp_path / 'public.pyth', tmp_path / 'ours.pth') == 0
    other = MViTv2(ARCH, input_size=(4, 32, 32))
    report = load_public_weights(other, tmp_path / 'ours.pth')
    assert report.layout == 'mmav' and not report.missing and not report.unused
    torch.testing.assert_close(dict(other.state_dict()), dict(model.state_dict()))


def test_mistakes_are_one_line(tmp_path, capsys):
    torch.save(dict(conv=torch.zeros(2)), tmp_path / 'strange.pth')
    for path, message in ((tmp_path / 'none.pth', 'no checkpoint'), (tmp_path / 'strange.pth', 'none of the layouts')):
        assert toys.run_tool('model_converters/convert_weights.py', path) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('error: ') and message in line


def test_checkpoints_of_our_own_are_told_and_need_no_converting(tmp_path, capsys):
    state = MViTv2(ARCH, input_size=(4, 32, 32)).state_dict()
    torch.save(
        dict(meta={}, state_dict={f'backbones.video.{key}': value for key, value in state.items()}), tmp_path / 'o'
    )
    tool = 'model_converters/convert_weights.py'
    assert toys.run_tool(tool, tmp_path / 'o') == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f'o: checkpoint of mmav train, {len(state)} weights')
    assert second.startswith(f'  backbones.video: {len(state)} weights, ')
    assert toys.run_tool(tool, tmp_path / 'o', tmp_path / 'out.pth') == 2
    assert "has mmav's names already: give it to init_cfg as it is" in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()


def test_positions_that_a_file_leaves_out_are_written_with_their_grid(tmp_path, capsys):
    """VideoMAE's, which no test of this size has: 16 frames of 224."""
    tool, sizes = 'model_converters/convert_weights.py', dict(embed_dims=4, num_layers=1, num_heads=1, cls_token=False)
    state = dict(ViT((16, 224, 224), **sizes).state_dict())
    del state['pos_embed']
    bias = state.pop('blocks.0.attn.qkv.bias')
    state |= {'blocks.0.attn.q_bias': bias[:4], 'blocks.0.attn.v_bias': bias[8:]}
    torch.save(dict(model={f'encoder.{key}': value for key, value in state.items()}), tmp_path / 'public.pth')
    assert toys.run_tool(tool, tmp_path / 'public.pth', tmp_path / 'ours.pth') == 0
    assert 'VideoMAE (MCG-NJU/VideoMAE)' in capsys.readouterr().out
    models = [ViT((16, 224, 448), **sizes) for _ in range(2)]
    for model, name in zip(models, ('public.pth', 'ours.pth'), strict=True):
        report = load_public_weights(model, tmp_path / name)
        assert report.adapted == dict(pos_embed='positions of (8, 14, 14) interpolated to (8, 14, 28)')
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_both_encoders_of_cav_mae_are_told(tmp_path, capsys):
    tool = 'model_converters/convert_weights.py'
    torch.save({f'module.{key}': value for key, value in CAVMAE().state_dict().items()}, tmp_path / 'c.pth')
    assert toys.run_tool(tool, tmp_path / 'c.pth') == 0
    first, audio, video = capsys.readouterr().out.splitlines()
    assert first.endswith('c.pth: CAV-MAE (YuanGongND/cav-mae), 114 weights')
    assert audio.startswith('  audio: 41 weights, ') and video.startswith('  video: 41 weights, ')
    assert toys.run_tool(tool, tmp_path / 'c.pth', tmp_path / 'out.pth') == 2
    assert 'holds two encoders: give it to the init_cfg of each as it is' in capsys.readouterr().err
