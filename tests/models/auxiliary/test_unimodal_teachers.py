import copy
import shutil

import pytest
import torch
from mmengine.config import Config

from mmav.engine import AVRunner
from mmav.errors import CheckpointError, ConfigError
from mmav.models import UnimodalTeachers
from mmav.registry import MODELS
from mmav.structures import AVDataSample
from tests import synthetic
from tests.models.auxiliary.teacher_files import write_teachers

CONV = dict(type='ConvEncoder', widths=(4, 6))
BACKBONES = dict(video=dict(**CONV, input_size=(2, 8, 8)), audio=dict(**CONV, input_size=(8, 12), in_channels=1))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_teachers(tmp_path_factory.mktemp('teachers'), BACKBONES)


def make(files, backbones=BACKBONES, **kwargs):
    torch.manual_seed(0)
    neck, head = dict(type='Avg'), dict(type='ClsHead', num_classes=3)
    mixup = kwargs.pop('token_mixup', None)
    auxiliary = dict(teachers=dict(type='UnimodalTeachers', **files, **kwargs))
    model = dict(type='AVClassifier', backbones=backbones, neck=neck, head=head, token_mixup=mixup)
    return MODELS.build(dict(model, auxiliary=auxiliary if files else None)).train()


def make_inputs(views=2):
    generator = torch.Generator().manual_seed(1)
    video = torch.randn(3, views, 3, 2, 8, 8, generator=generator)
    return dict(video=video, audio=torch.randn(3, 1, 1, 8, 12, generator=generator))


SAMPLES = [AVDataSample().set_gt_label(label) for label in (2, 0, 1)]


def trained(name, files):
    """The encoder of a file, loaded by hand."""
    encoder = MODELS.build(BACKBONES[name])
    state = torch.load(files[name]['checkpoint'], weights_only=True)['state_dict']
    prefix = f'backbones.{name}.'
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return encoder.eval()


@pytest.mark.parametrize('features', ['class', 'all'])
@pytest.mark.parametrize('absent', [False, True])
@torch.no_grad()
def test_each_encoder_is_pulled_to_its_teacher(files, features, absent):
    """The mean squared difference, clip by clip and view by view, of two views of video and one of sound."""
    model, inputs = make(files, features=features, loss_weight=dict(video=2.0, audio=0.5)), make_inputs()
    mask = torch.tensor([True, not absent, True])
    masks = dict(video=torch.ones(3).bool(), audio=mask) if absent else None
    if absent:
        inputs['audio'][1] = torch.nan
        for backbone in model.backbones.values():  # of BatchNorm, which would see the NaN, not the batch's statistics
            backbone.eval()
    found = model(inputs, SAMPLES, masks=masks, mode='loss')
    for name, weight in dict(video=2.0, audio=0.5).items():
        x = inputs[name].flatten(0, 1)
        torch.manual_seed(0)
        own, wanted = model.backbones[name](x), trained(name, files)(x)
        squares = []
        for row in range(len(x)):
            if name == 'video' or mask[row]:
                pairs = [(own.cls[row], wanted.cls[row])]
                pairs += list(zip(own.patches[row], wanted.patches[row], strict=True)) if features == 'all' else []
                squares += [(a - b) ** 2 for pair in pairs for a, b in zip(*(v.tolist() for v in pair), strict=True)]
        expected = torch.tensor(weight * sum(squares) / len(squares))
        torch.testing.assert_close(found[f'loss_teacher_{name}'], expected, atol=1e-5, rtol=1e-5)


def test_teachers_do_not_learn_and_are_no_part_of_the_model(files):
    model, plain, inputs = make(files), make({}), make_inputs()
    held = model.auxiliary['teachers']._held
    model.init_weights()
    before = copy.deepcopy({name: teacher.state_dict() for name, teacher in held.encoders.items()})
    model.train()(inputs, SAMPLES, mode='loss')['loss_teacher_video'].backward()
    assert all(p.grad is not None for p in model.backbones['video'].parameters())
    for name, teacher in held.encoders.items():
        assert not any(module.training for module in teacher.modules())
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        torch.testing.assert_close(teacher.state_dict(), before[name])
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert copy.deepcopy(model).auxiliary['teachers']._held is held  # EMA's copy has no second set


def test_only_training_reads_the_files():
    model, plain = make(dict(video=dict(config='gone.py', checkpoint='gone.pth'))), make({})
    plain.load_state_dict(model.state_dict())
    inputs = make_inputs()
    torch.testing.assert_close(model.eval()(inputs), plain.eval()(inputs))
    with pytest.raises(CheckpointError, match=r"^no checkpoint 'gone.pth'"):
        model.init_weights()


def test_reading_draws_nothing(files):
    part = UnimodalTeachers(dict(video=6, audio=6), **files)
    state = torch.get_rng_state()
    part.read()
    assert torch.equal(torch.get_rng_state(), state)


def test_clips_are_compared_before_they_are_mixed(files):
    losses = []
    for mixup in (None, dict(type='TokenMixup')):
        model = make(files, token_mixup=mixup)
        losses.append(model(make_inputs(), SAMPLES, mode='loss'))
    assert losses[0]['loss_teacher_video'] == losses[1]['loss_teacher_video']
    assert losses[0]['loss_cls'] != losses[1]['loss_cls']


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(), r'^UnimodalTeachers has no teacher: give one'),
        (dict(vidoe=dict(config='a', checkpoint='b')), r"no 'vidoe' to teach, only video and audio, did you mean 'vid"),
        (dict(video=dict(config='a.py')), r"^UnimodalTeachers: video={'config': 'a.py'}; give dict\(config=..., check"),
        (
            dict(video=dict(config='a', checkpoint='b'), loss_weight=0),
            r'^loss_weight=0 of video: give a number above 0',
        ),
        (dict(video=dict(config='a', checkpoint='b'), features='cls'), r"^features='cls' is unknown: choose class or"),
    ],
)
def test_settings_that_cannot_be_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        UnimodalTeachers(dict(video=6, audio=6), **kwargs)


def test_a_file_of_another_model_is_refused(files, tmp_path):
    def read(video, backbones=BACKBONES):
        make(dict(video=video), backbones).init_weights()

    with pytest.raises(CheckpointError, match=r"audio.pth' has no encoder of video to teach with, only audio$"):
        read(dict(files['video'], checkpoint=files['audio']['checkpoint']))
    both, weights = tmp_path / 'both.pth', {}
    for each in files.values():
        weights |= torch.load(each['checkpoint'], weights_only=False)['state_dict']
    torch.save(dict(meta={}, state_dict=weights), both)
    with pytest.raises(
        CheckpointError, match=r"both.pth' has encoders of audio and video, '.*video.py' only of video:"
    ):
        read(dict(files['video'], checkpoint=str(both)))
    with pytest.raises(ConfigError, match=r"audio.py' has no encoder of video to teach with, only audio$"):
        read(dict(files['video'], config=files['audio']['config']))
    narrow = dict(BACKBONES, video=dict(BACKBONES['video'], widths=(4, 5)))
    with pytest.raises(
        ConfigError, match=r"teacher of video, '.*', gives 6 features, the encoder to be taught 5: take"
    ):
        read(files['video'], narrow)
    other = write_teachers(tmp_path, dict(video=narrow['video']))['video']
    with pytest.raises(
        CheckpointError, match=r"video.pth' does not fit the encoder of video in '.*': .*; give the con"
    ):
        read(dict(config=other['config'], checkpoint=files['video']['checkpoint']))
    lora = write_teachers(tmp_path, dict(audio=dict(BACKBONES['audio'])))['audio']
    config = tmp_path / 'lora.py'
    config.write_text("_base_ = ['audio.py']\nmodel = dict(backbones=dict(audio=dict(lora=dict(rank=2))))\n")
    with pytest.raises(
        ConfigError, match=r"lora.py' has LoRA in its encoder of audio: make the checkpoint an ordinary"
    ):
        make(dict(audio=dict(lora, config=str(config)))).init_weights()


def test_a_resumed_training_is_the_one_that_went_on(tmp_path):
    sizes = dict(video=dict(input_size=(4, 16, 16)), audio=dict(input_size=(16, 32), in_channels=1))
    backbones = {name: dict(**CONV, **size) for name, size in sizes.items()}
    teachers = dict(type='UnimodalTeachers', **write_teachers(tmp_path, backbones))
    cfg = synthetic.experiment(8, optimizer=dict(type='SGD', lr=0.05))
    cfg['model'] |= dict(backbones=backbones, neck=dict(type='Avg'), auxiliary=dict(teachers=teachers))
    cfg['train_dataloader']['dataset']['length'] = 16
    cfg |= dict(
        train_cfg=dict(max_epochs=2),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        resume=True,
    )
    states = []
    for name in ('whole', 'again'):
        folder = tmp_path / name
        folder.mkdir()
        if name == 'again':
            shutil.copy(tmp_path / 'whole' / 'epoch_1.pth', folder)
        runner = AVRunner.from_cfg(Config(dict(cfg, work_dir=str(folder), experiment_name=name)))
        runner.train()
        states.append(runner.model.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)
    assert not any('teachers' in name for name in states[0])
