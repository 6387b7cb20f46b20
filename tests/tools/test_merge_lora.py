import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmav.checkpoints import load_checkpoint_file
from mmav.config.reading import load_checked_config
from mmav.engine.small_checkpoints import leave_out_base
from mmav.inference.trained_model import build_model
from mmav.registry import MODELS
from tests import toys
from tests.engine.test_small_checkpoints import experiment

TOOL = 'model_converters/merge_lora.py'


def test_a_small_checkpoint_becomes_a_plain_one(tmp_path, capsys):
    init_default_scope('mmav')
    torch.manual_seed(0)
    public = tmp_path / 'public.pth'
    cfg = experiment(public, trained_only=True)
    plain = Config(cfg.to_dict())
    for name in ('video', 'audio'):
        plain.model.backbones[name] = {
            k: v for k, v in plain.model.backbones[name].items() if k not in ('lora', 'freeze')
        }
    torch.save(dict(meta={}, state_dict=MODELS.build(plain.model).state_dict()), public)
    cfg.dump(tmp_path / 'small.py')
    model = MODELS.build(cfg.model)
    model.init_weights()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    checkpoint = dict(meta={}, state_dict=model.state_dict())
    whole = {name: value.clone() for name, value in checkpoint['state_dict'].items()}
    leave_out_base(checkpoint, model)
    assert len(checkpoint['state_dict']) < len(whole)
    torch.save(checkpoint, tmp_path / 'small.pth')
    paths = [tmp_path / 'small.py', tmp_path / 'small.pth', '--out']
    assert toys.run_tool(TOOL, *paths, tmp_path / 'plain.pth') == 0
    assert '9 layers merged' in capsys.readouterr().out
    public.unlink()  # no longer needed
    written = load_checked_config(str(tmp_path / 'plain.py'))
    again = build_model(written.model, load_checkpoint_file(tmp_path / 'plain.pth'), 'plain.pth', names=None)
    generator = torch.Generator().manual_seed(0)
    inputs = dict(video=torch.randn(2, 1, 3, 2, 16, 16, generator=generator), audio=torch.randn(2, 1, 1, 16, 32))
    model.eval()
    torch.testing.assert_close(again(inputs)['label'], model(inputs)['label'], atol=1e-5, rtol=1e-5)
    # its own result has nothing to merge
    assert toys.run_tool(TOOL, tmp_path / 'plain.py', tmp_path / 'plain.pth', '--out', tmp_path / 'again.pth') == 2
    assert 'there is nothing to merge' in capsys.readouterr().err
    assert toys.run_tool(TOOL, *paths, tmp_path / 'small.pth') == 2
    assert not (tmp_path / 'again.pth').exists()
