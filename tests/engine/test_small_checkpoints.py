"""A run whose checkpoints leave out the frozen weights of a public file is the run that writes them whole."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmav.engine import AVRunner
from mmav.engine.averaging import average_checkpoints
from mmav.engine.small_checkpoints import checksum, complete, leave_out_base
from mmav.errors import CheckpointError, ConfigError
from mmav.inference.trained_model import build_model
from mmav.models.lora import is_lora
from mmav.models.weights import load_public_weights
from mmav.registry import MODELS
from tests import synthetic, toys

AVERAGED = [dict(type='EMAHook', momentum=0.1)]


def experiment(public, *, trained_only: bool) -> Config:
    """A frozen encoder and one with LoRA, both of public weights; the head starts anew."""
    cfg = synthetic.experiment(8, optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05))
    tuned = dict(video=dict(freeze='all'), audio=dict(lora=dict(rank=2, alpha=4)))
    for name, options in tuned.items():
        init = dict(type='PublicWeights', checkpoint=str(public))
        cfg['model']['backbones'][name] |= options | dict(init_cfg=init)
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1, trained_only=trained_only)
    cfg |= dict(custom_hooks=AVERAGED, train_cfg=dict(type='AVTrainLoop', max_epochs=2))
    return Config(cfg)


def run(cfg: Config, folder: Path, **options) -> AVRunner:
    cfg = Config(cfg.to_dict())
    cfg.merge_from_dict(options)
    cfg.update(work_dir=str(folder), experiment_name=f'{folder.name}_{len(options)}')
    runner = AVRunner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """With the public weights, others, and the two runs."""
    folder = tmp_path_factory.mktemp('small')
    for seed, name in enumerate(('public', 'other')):
        torch.manual_seed(seed)
        model = MODELS.build(synthetic.experiment(1, optimizer={})['model'])
        weights = {key: 0.1 + torch.randn_like(value) / 5 for key, value in model.state_dict().items()}
        torch.save(dict(meta={}, state_dict=weights), folder / f'{name}.pth')
    for name, trained_only in (('whole', False), ('small', True)):
        run(experiment(folder / 'public.pth', trained_only=trained_only), folder / name)
    return folder


def load(folder: Path, name: str, epoch: int = 2) -> dict:
    return torch.load(folder / name / f'epoch_{epoch}.pth', weights_only=True)


def build(folder: Path, public: str = 'public', **options):
    model = experiment(folder / f'{public}.pth', trained_only=True).model
    return MODELS.build({**model, **options})


def test_what_trained_is_kept_and_what_a_file_has_is_not(folder):
    whole, small = load(folder, 'whole'), load(folder, 'small')
    for kind, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
        assert small[kind].keys() < whole[kind].keys()
        for name, value in small[kind].items():
            assert torch.equal(value, whole[kind][name]), name
        left_out = {name.removeprefix(prefix) for name in whole[kind].keys() - small[kind].keys()}
        assert left_out == small['meta']['base']['checksums'].keys()
        trained = {name for name, parameter in build(folder).named_parameters() if parameter.requires_grad}
        assert not trained & left_out and any(map(is_lora, trained))
    # a table may be needed in the size of training; everything else of the encoders is in the file
    rest = {name for name in small['state_dict'] if name.startswith('backbones.') and not is_lora(name)}
    assert rest and all('.rel_pos.tables.' in name or name.endswith('cls_token') for name in rest)
    assert 'base' not in whole['meta']
    assert small['meta']['base']['sources'] == [f"'{folder / 'public.pth'}'"]


def test_resumed_equals_uninterrupted(folder):
    (folder / 'resumed').mkdir()
    shutil.copy(folder / 'small' / 'epoch_1.pth', folder / 'resumed')
    run(experiment(folder / 'public.pth', trained_only=True), folder / 'resumed', resume=True)
    one, two = load(folder, 'small'), load(folder, 'resumed')
    for kind in ('state_dict', 'ema_state_dict'):
        assert one[kind].keys() == two[kind].keys()
        assert all(torch.equal(value, two[kind][name]) for name, value in one[kind].items())


def test_tested_and_used_as_the_whole_one(folder):
    cfg = experiment(folder / 'public.pth', trained_only=False)
    cfg.update(work_dir=str(folder / 'tested'), default_hooks=dict(checkpoint=None), custom_hooks=[])
    scores = []
    for name in ('whole', 'small'):
        toys.MessageHub._instance_dict.clear()
        cfg.update(experiment_name=f'test_{name}', load_from=str(folder / name / 'epoch_2.pth'))
        scores.append(AVRunner.from_cfg(cfg).test())
    assert scores[0] == scores[1] and scores[0]['top1'] > 0
    states = [build_model(cfg.model, load(folder, name), name, names=None).state_dict() for name in ('whole', 'small')]
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('public', 'options', 'starts'),
    [('other', {}, 'other.pth'), ('public', dict(pretrained=False), 'starts from no file')],
)
def test_another_base_is_refused(folder, public, options, starts):
    with pytest.raises(
        CheckpointError, match=r"on top of '.*public\.pth'; the model of this config starts.*"
    ) as caught:
        complete(load(folder, 'small'), build(folder, public, **options), 'small.pth')
    assert starts in str(caught.value)


def test_a_missing_file_is_named(folder):
    model = build(folder)
    model.backbones.video.init_cfg['checkpoint'] = 'nowhere.pth'
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nowhere.pth'"):
        complete(load(folder, 'small'), model, 'small.pth')


def test_without_a_file_to_start_from_it_is_refused(folder, tmp_path):
    cfg = experiment(folder / 'public.pth', trained_only=True)
    cfg.merge_from_dict({'model.pretrained': False})
    with pytest.raises(ConfigError, match='trained_only=True has no effect: nothing is frozen that comes from a file'):
        run(cfg, tmp_path / 'run')


def test_weights_that_are_no_longer_those_of_the_file_are_kept(folder):
    """A checkpoint of other weights is loaded after the public ones."""
    cfg = experiment(folder / 'public.pth', trained_only=True)
    other = torch.load(folder / 'other.pth', weights_only=True)['state_dict']
    kept = {name: value for name, value in other.items() if 'blocks.0' in name}
    torch.save(dict(state_dict=kept), folder / 'part.pth')
    run(cfg, folder / 'replaced', load_from=str(folder / 'part.pth'), **{'optim_wrapper.optimizer.lr': 0.0})
    state = load(folder, 'replaced')['state_dict']
    frozen = [name for name in kept if name.startswith('backbones.')]
    assert frozen and all(torch.equal(state[name], kept[name]) for name in frozen)
    assert not any('backbones.video.blocks.1.mlp' in name for name in state)


def test_no_source_of_weights_for_others(folder):
    with pytest.raises(CheckpointError, match=r'holds only what was trained on top of .* make it whole with'):
        load_public_weights(build(folder).backbones.audio, folder / 'small' / 'epoch_2.pth')


def test_nothing_is_left_out_of_a_model_without_files():
    model = MODELS.build(synthetic.experiment(1, optimizer={})['model'])
    checkpoint = dict(meta={}, state_dict=model.state_dict())
    leave_out_base(checkpoint, model)
    assert checkpoint['meta'] == {} and checkpoint['state_dict'].keys() == model.state_dict().keys()
    before = dict(checkpoint['state_dict'])
    complete(checkpoint, model, 'whole.pth')
    assert checkpoint['state_dict'] == before


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.int64])
def test_checksums_see_every_bit(dtype):
    value = torch.arange(6).reshape(2, 3).to(dtype)
    other = value.clone()
    other[1, 2] += 1
    assert checksum(value.t()) == checksum(value.t().contiguous()) != checksum(value)
    assert checksum(value) != checksum(other) and checksum(torch.tensor(1.0)) != checksum(torch.tensor(2.0))


def stopped_and_resumed(folder, name, hook, **encoders):
    """A run of 3 epochs that writes small checkpoints, the same resumed after the first, and one with whole ones."""
    for kind, trained_only in (('whole', False), ('small', True), ('resumed', True)):
        cfg = experiment(folder / 'public.pth', trained_only=trained_only)
        cfg.custom_hooks, cfg.train_cfg.max_epochs = [hook], 3
        for encoder in cfg.model.backbones.values():
            encoder.pop('lora', None)
            encoder.pop('freeze', None)
            encoder.update(encoders)
        options = dict(resume=str(folder / f'{name}_small' / 'epoch_1.pth')) if kind == 'resumed' else {}
        run(cfg, folder / f'{name}_{kind}', **options)


def test_averages_leave_out_the_same(folder):
    stopped_and_resumed(folder, 'averaged', dict(type='CheckpointAveragingHook'), freeze='all')
    small, resumed, whole = (
        torch.load(folder / f'averaged_{kind}' / 'averaged_epoch_1-3.pth', weights_only=True)
        for kind in ('small', 'resumed', 'whole')
    )
    left_out = small['meta']['base']['checksums'].keys()
    assert small['state_dict'].keys() == whole['state_dict'].keys() - left_out
    for name, value in small['state_dict'].items():
        assert torch.equal(value, whole['state_dict'][name]) and torch.equal(value, resumed['state_dict'][name])
    assert not left_out & load(folder, 'averaged_small')['averaging']['mean']['sums'].keys()
    # the tool averages what the files hold
    files = [folder / 'averaged_small' / f'epoch_{epoch}.pth' for epoch in (1, 2, 3)]
    found = average_checkpoints(files)
    assert found['meta']['base']['checksums'] == small['meta']['base']['checksums']
    torch.testing.assert_close(found['state_dict'], dict(small['state_dict']), rtol=0, atol=0)


def test_thawed_weights_are_no_longer_left_out(folder):
    hooks = dict(type='ProgressiveUnfreezeHook', stages=[(1, 'all'), (2, 1), (3, None)])
    stopped_and_resumed(folder, 'thawed', hooks)
    sizes = [
        len(load(folder, 'thawed_small', epoch)['meta'].get('base', {}).get('checksums', ())) for epoch in (1, 2, 3)
    ]
    assert sizes[0] > sizes[1] > sizes[2] == 0
    small, resumed, whole = (load(folder, f'thawed_{kind}', 3)['state_dict'] for kind in ('small', 'resumed', 'whole'))
    assert small.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(value, small[name]) and torch.equal(value, resumed[name]), name
