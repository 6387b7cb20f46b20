import pytest

from benchmarks.token_drop import DropCost, draw_drops, drop_table, measure_drops, with_token_drop
from mmav.errors import ConfigError
from tests import resnet

ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
BACKBONES = dict(
    audio=dict(type='MAT', arch=ARCH, input_size=(32, 64), q_strides=[(2, 2)]),
    video=dict(type='ViT', input_size=(8, 32, 32), embed_dims=16, num_layers=1, num_heads=2),
)
MODEL = dict(type='AVClassifier', backbones=BACKBONES, neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=2))


def test_shares_of_time_of_both_modalities():
    before = repr(MODEL)
    whole, half = measure_drops('both', MODEL, [0, 0.5], rounds=1)
    assert repr(MODEL) == before
    assert (whole.share, whole.left, whole.ratio) == (0, 1, 1)
    assert half.left == 0.5 and half.macs < 0.7 * whole.macs and half.saved < 0.8 * whole.saved
    assert half.seconds > 0 and half.peak is None


def test_forms():
    drops = {name: cfg['token_drop'] for name, cfg in with_token_drop(MODEL, 0.25, 'time')['backbones'].items()}
    assert drops == dict(audio=dict(axes=[0.0, 0.25]), video=dict(axes=[0.25, 0.0, 0.0]))
    vit = dict(MODEL, backbones=dict(video=BACKBONES['video']))
    assert with_token_drop(vit, 0.5, 'ratio')['backbones']['video']['token_drop'] == dict(ratio=0.5)
    with pytest.raises(ConfigError, match='only whole slices'):
        measure_drops('mat', MODEL, [0.5], form='ratio')
    with pytest.raises(ConfigError, match='ResNet cannot leave tokens out'):
        with_token_drop(dict(MODEL, backbones=dict(audio=resnet.AUDIO)), 0.5, 'time')


def test_table_and_picture(tmp_path):
    rows = [
        DropCost('mat', 0.0, 1.0, 46_700_000_000, 800 * 2**20, None, 4.0, 1.0, (1.0, 1.0)),
        DropCost('mat', 0.5, 0.5, 21_000_000_000, 3 * 2**19, 2**30, 1.6, 2.5, (2.4, 2.6)),
    ]
    assert drop_table(rows).splitlines()[2:] == [
        '| mat | 0% | 100% | 46.7 G | 800 MiB | - | 4000 ms | 1.00 (1.00-1.00) |',
        '| mat | 50% | 50% | 21 G | 1.5 MiB | 1024 MiB | 1600 ms | 2.50 (2.40-2.60) |',
    ]
    draw_drops(rows, tmp_path / 'drop.png')
    assert (tmp_path / 'drop.png').stat().st_size > 5000
