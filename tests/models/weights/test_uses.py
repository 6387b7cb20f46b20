"""Where a model's weights come from, as tools/train.py and tools/test.py do it, with a server on this machine."""

import io
import shutil

import pytest
import torch
from mmengine.config import Config

from mmav.config.check import check_config
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.models import MAT
from mmav.models.weights.uses import places_of_files, weight_problems, weights_of_config
from tests import synthetic, toys
from tests.processes import run_tool_in_pair

KINETICS_SOUNDS = str(toys.ROOT / 'configs' / 'mmt' / 'mmt_k4_l4_kinetics_sounds.py')
VGGSOUND = KINETICS_SOUNDS.replace('kinetics_sounds', 'vggsound')
VIDEO = 'model.backbones.video.init_cfg'


def problems(path=KINETICS_SOUNDS, **options):
    return list(weight_problems(load_config(path, {f'{VIDEO}.{name}': value for name, value in options.items()})))


@pytest.mark.parametrize(
    'checkpoint',
    ['mvitv2_b_k400_32x3', 'mvitv2_b_ssv2_32_mmaction2', '/data/MViTv2_B_32x3_k400_f304025456.pyth'],
)
def test_kinetics_sounds_never_starts_from_kinetics(checkpoint):
    (line,) = problems(checkpoint=checkpoint)
    assert line == (
        f'{VIDEO}.checkpoint: {checkpoint!r} was trained on Kinetics-400, which train_dataloader.dataset is a part of: '
        f'it has seen these clips; take other weights, or say so with {VIDEO}.allow_overlap=True'
    )
    assert not problems(checkpoint=checkpoint, allow_overlap=True)
    assert not problems(VGGSOUND, checkpoint=checkpoint)


def test_allowing_what_is_allowed_is_refused():
    (line,) = problems(allow_overlap=True)
    assert line.startswith(f'{VIDEO}.allow_overlap: has no effect')


def test_a_misspelt_name_is_refused_by_the_check():
    with pytest.raises(ConfigError, match=rf"{VIDEO}\.checkpoint: .*'mvitv2_b_in1', did you mean 'mvitv2_b_in1k'"):
        check_config(load_config(VGGSOUND, {f'{VIDEO}.checkpoint': 'mvitv2_b_in1'}))
    for nothing in (None, '', 3):
        (line,) = problems(checkpoint=nothing)
        assert line == f'{VIDEO}.checkpoint: give a name, an address or a path, got {nothing!r}'


def test_a_misspelt_data_set_would_void_the_rule():
    cfg = load_config(KINETICS_SOUNDS, {'train_dataloader.dataset.part_of': 'Kinetics400'})
    (line,) = weight_problems(cfg)
    assert line == (
        'train_dataloader.dataset.part_of: no public weights were trained on '
        "'Kinetics400', did you mean 'Kinetics-400'?"
    )


@pytest.mark.parametrize(
    'checkpoint',
    [
        'https://host/mvit-small_32xb16-16x4x1-200e_kinetics400-rgb_20230201-23284ff3.pth',
        '/data/MViTv2_B_32x3_k400_f304025456 (1).pyth',
        'MAE-K700.pth',
    ],
)
def test_names_that_say_kinetics_are_believed(checkpoint):
    (line,) = problems(checkpoint=checkpoint)
    assert line.startswith(f'{VIDEO}.checkpoint: {checkpoint!r}, by its name, was trained on Kinetics-400, which ')
    assert not problems(checkpoint=checkpoint, allow_overlap=True)
    assert not problems(checkpoint='/k400/kinetics_sounds_epoch_9.pth')


def test_mmengines_own_way_of_loading_is_no_way_around_the_rule():
    cfg = load_config(KINETICS_SOUNDS, {VIDEO: dict(type='Pretrained', checkpoint='/data/my_k400.pth')})
    (line,) = weight_problems(cfg)
    assert line.startswith(f"{VIDEO}.checkpoint: '/data/my_k400.pth', by its name, was trained on Kinetics-400")


@pytest.mark.parametrize(
    ('name', 'wrong', 'message'),
    [
        (f'{VIDEO}.inflate', 'centre', f"{VIDEO}: inflate='centre' is unknown: choose center or mean, did you mean "),
        (f'{VIDEO}.grid', '6x6', f"{VIDEO}: grid='6x6' is not a grid: "),
        (f'{VIDEO}.strict', 'no', f"{VIDEO}.strict: give True or False, got 'no'"),
        (
            VIDEO,
            dict(_delete_=True, checkpoint='mvitv2_b_in1k'),
            f"{VIDEO}: give a dict such as dict(type='PublicWeights', ",
        ),
        (VIDEO, [None], f'{VIDEO}.0: give a dict such as dict('),
        (VIDEO, 'mvitv2_b_in1k', f"{VIDEO}: give a dict such as dict(type='PublicWeights', checkpoint=...), got 'mvi"),
        ('model.pretrained', 'no', "model.pretrained: give True or False, got 'no'"),
    ],
)
def test_slips_are_found_before_anything_is_fetched(name, wrong, message):
    (line,) = weight_problems(load_config(VGGSOUND, {name: wrong}))
    assert line.startswith(message)


def test_wrapped_data_sets_and_lists_are_looked_into():
    dataset = dict(type='RepeatDataset', dataset=dict(type='AVDataset', part_of='Kinetics-400'))
    init = [dict(type='Normal', layer='Linear'), dict(type='PublicWeights', checkpoint='mvitv2_b_k400_32x3')]
    cfg = dict(test_dataloader=dict(dataset=dataset), model=dict(parts=[dict(init_cfg=init)]))
    (line,) = weight_problems(cfg)
    assert line.startswith('model.parts.0.init_cfg.1.checkpoint: ') and 'test_dataloader.dataset.dataset is' in line
    assert list(weights_of_config(cfg)) == ['model.parts.0.init_cfg.1']
    assert not list(weight_problems(cfg | dict(model=dict(cfg['model'], pretrained=False))))


@pytest.fixture
def public(server, torch_home):
    """MAT's weights on the server, as somebody would publish them, and their address."""
    torch.manual_seed(5)
    model = MAT(synthetic.ARCH, input_size=(16, 32), q_strides=[(1, 2)])
    model.init_weights()
    content = io.BytesIO()
    torch.save(dict(state_dict=model.state_dict()), content)
    server.files['mat.pth'] = content.getvalue()
    server.asked['mat.pth'] = 0
    return model.state_dict(), server.address('well', 'mat.pth')


@pytest.fixture
def config(public, tmp_path):
    """An experiment whose sound starts from them; its rate of 0 leaves them as they are."""
    cfg = Config(synthetic.experiment(8, optimizer=dict(type='SGD', lr=0.0)))
    cfg.model.backbones.audio.init_cfg = dict(type='PublicWeights', checkpoint=public[1])
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    cfg.dump(tmp_path / 'experiment.py')
    return tmp_path / 'experiment.py'


def train(config, work_dir, *arguments):
    return toys.run_tool('train.py', config, '--work-dir', work_dir, *arguments)


def starts_from(path, weights):
    state = torch.load(path, weights_only=True)['state_dict']
    return all(torch.equal(state[f'backbones.audio.{name}'], value) for name, value in weights.items())


def test_training_starts_from_an_address_and_nothing_else_asks_for_it(
    config, public, server, torch_home, tmp_path, capsys
):
    weights, address = public
    work = tmp_path / 'w'
    assert train(config, work) == 0
    said = capsys.readouterr().out
    assert starts_from(work / 'epoch_1.pth', weights) and server.asked['mat.pth'] == 1
    assert f"backbones.audio (MAT): {len(weights)} loaded from '{address}' (mmav)" in said
    assert 'backbones.video (MViTv2): from scratch, ' in said

    shutil.rmtree(torch_home)
    assert toys.run_tool('test.py', config, work / 'epoch_1.pth', '--work-dir', tmp_path / 't') == 0
    more = ['--cfg-options', 'train_cfg.max_epochs=2']
    capsys.readouterr()
    assert train(config, work, '--resume', *more) == 0
    assert "weights of backbones.audio are not read: '" in capsys.readouterr().out
    assert starts_from(work / 'epoch_2.pth', weights)
    assert train(config, tmp_path / 'l', '--cfg-options', f'load_from={work / "epoch_1.pth"}') == 0
    assert server.asked['mat.pth'] == 1 and not torch_home.exists()


def test_what_a_checkpoint_does_not_have_is_read_all_the_same(config, public, server, tmp_path, capsys):
    """A checkpoint of the picture's encoder alone, or of a sound encoder of another size."""
    cfg = Config.fromfile(config)
    weights, _ = public
    other = {
        name: torch.zeros(3) if name == 'norm.weight' else torch.zeros_like(value) for name, value in weights.items()
    }
    other['blocks.0.attn.rel_pos.tables.0'] = torch.zeros(5, 8)
    torch.save(
        dict(state_dict={f'backbones.audio.{name}': value for name, value in other.items()}), tmp_path / 'other.pth'
    )
    cfg.load_from = str(tmp_path / 'other.pth')
    cfg.dump(config)
    assert train(config, tmp_path / 'w') == 0
    assert server.asked['mat.pth'] == 1 and 'are not read' not in capsys.readouterr().out
    state = torch.load(tmp_path / 'w' / 'epoch_1.pth', weights_only=True)['state_dict']
    assert torch.equal(state['backbones.audio.norm.weight'], weights['norm.weight'])
    assert not state['backbones.audio.norm.bias'].any()  # the checkpoint's


def test_from_scratch_is_one_option(config, public, server, tmp_path, capsys):
    scratch = ['--cfg-options', 'model.pretrained=False']
    assert train(config, tmp_path / 'w', *scratch) == 0
    assert 'backbones.audio (MAT): from scratch, ' in capsys.readouterr().out
    assert server.asked['mat.pth'] == 0 and not starts_from(tmp_path / 'w' / 'epoch_1.pth', public[0])
    assert train(config, tmp_path / 'v', *scratch, 'model.backbones.audio.init_cfg.strict=False') == 2
    message = 'error: --cfg-options model.backbones.audio.init_cfg.strict has no effect with model.pretrained=False\n'
    assert capsys.readouterr().err == message


def test_several_initialisers_in_the_order_of_the_list(config, public, server, tmp_path):
    cfg = Config.fromfile(config)
    sound = cfg.model.backbones.audio
    sound.init_cfg = [dict(type='Normal', layer='Linear', std=1.0), dict(sound.init_cfg, type='mmav.PublicWeights')]
    assert list(weights_of_config(cfg)) == ['model.backbones.audio.init_cfg.1']
    cfg.dump(config)
    assert train(config, tmp_path / 'w') == 0 and starts_from(tmp_path / 'w' / 'epoch_1.pth', public[0])


def test_other_initialisation_is_not_the_weights(config, tmp_path, capsys):
    """What is drawn differently is, from scratch, too; what MMEngine loads is not from scratch."""
    cfg = load_config(str(config), {'model.pretrained': False, 'model.head.init_cfg.type': 'Normal'})
    assert places_of_files(cfg) == ['model.backbones.audio.init_cfg']
    options = ['model.pretrained=False', 'model.head.init_cfg.type=Normal', 'model.head.init_cfg.layer=Linear']
    assert train(config, tmp_path / 'w', '--cfg-options', *options) == 0
    capsys.readouterr()
    torch.save(MAT(synthetic.ARCH, input_size=(16, 32), q_strides=[(1, 2)]).state_dict(), tmp_path / 'm.pth')
    sound = 'model.backbones.audio.init_cfg'
    options = [f'{sound}.type=Pretrained', f'{sound}.checkpoint={tmp_path / "m.pth"}']
    assert train(config, tmp_path / 'v', '--cfg-options', *options) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if 'backbones.audio (MAT): ' in line]
    assert 'from scratch' not in line and f'PretrainedInit: load from {tmp_path / "m.pth"}' in line


def test_two_processes_download_once_and_start_alike(config, public, server, torch_home, tmp_path):
    """Spread over both (FSDP), where weights are drawn while the runner is built, in testing, too."""
    cfg = Config.fromfile(config)
    cfg.fsdp, cfg.train_dataloader.batch_size = True, 4
    cfg.dump(config)
    run_tool_in_pair(tmp_path, 'train.py', config, '--work-dir', tmp_path / 'w')
    assert server.asked['mat.pth'] == 1 and starts_from(tmp_path / 'w' / 'epoch_1.pth', public[0])
    shutil.rmtree(torch_home)
    run_tool_in_pair(tmp_path, 'test.py', config, tmp_path / 'w' / 'epoch_1.pth', '--work-dir', tmp_path / 't')
    assert server.asked['mat.pth'] == 1 and not torch_home.exists()


def test_weights_are_here_before_data_are_read(config, torch_home, tmp_path, capsys):
    option = 'model.backbones.audio.init_cfg.checkpoint'
    assert train(config, tmp_path / 'w', '--cfg-options', f'{option}=mvitv2_b_in1k') == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: cannot download 'mvitv2_b_in1k' (no connection: ")
    scratch = '; or from scratch: --cfg-options model.pretrained=False'
    assert line.endswith(f'put it there: {torch_home / "MViTv2_B_in1k.pyth"}{scratch}')
    assert train(config, tmp_path / 'w', '--cfg-options', f'{option}=gone.pth') == 2
    assert capsys.readouterr().err.startswith("error: no checkpoint 'gone.pth': ")
    assert not (tmp_path / 'w').exists()  # the runner, which reads data, makes it
