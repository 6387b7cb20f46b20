import torch

from mmav.models import MViTv2
from mmav.models.weights import load_public_weights
from tests import toys
from tests.models.weights.files import slowfast

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
