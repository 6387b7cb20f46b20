"""Gradient-Blending beside its equations (Wang, Tran, Feiszli 2020), and in training that stops and goes on."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmav.engine import AVRunner
from mmav.engine.hooks.gradient_blending import FUSED, GradientBlendingHook, blending_weights, shared_list
from mmav.errors import ConfigError
from mmav.registry import HOOKS
from tests import synthetic
from tests.engine.hooks.test_modulation import ALONE, BACKBONES, make_batch, make_model, make_runner, run
from tests.processes import join_pair, run_pair

WEIGHTS = dict(fused=0.5, video=0.25, audio=0.75)


def test_weights_are_those_of_the_paper():
    before = dict(fused=(2.0, 2.5), video=(2.0, 2.0), audio=(1.5, 2.0))
    after = dict(fused=(0.5, 1.5), video=(1.0, 1.8), audio=(1.0, 1.9))
    ratios = {}
    for name, (train, held_out) in before.items():
        generalised = held_out - after[name][1]
        overfitted = (after[name][1] - after[name][0]) - (held_out - train)
        ratios[name] = generalised / overfitted**2
    expected = {name: value / sum(ratios.values()) for name, value in ratios.items()}
    assert blending_weights(before, after) == pytest.approx(expected)
    assert sum(blending_weights(before, after, least=0.2).values()) == pytest.approx(1)


def test_a_head_that_only_overfits_has_the_least():
    before = dict(fused=(2.0, 2.0), audio=(2.0, 2.0))
    assert blending_weights(before, dict(fused=(1.0, 1.5), audio=(1.0, 2.5))) == dict(fused=1.0, audio=0.0)
    found = blending_weights(before, dict(fused=(1.0, 1.5), audio=(1.0, 2.5)), least=0.25)
    assert found == pytest.approx(dict(fused=0.8, audio=0.2))
    assert blending_weights(before, before) == dict(fused=0.5, audio=0.5)  # none has gained


def test_given_weights_scale_the_losses():
    model = make_model(auxiliary=ALONE)
    plain, runner = model(**make_batch(), mode='loss'), make_runner(model)
    GradientBlendingHook(weights=WEIGHTS).before_train(runner)
    found = run(runner, make_batch())
    for name, key in dict(fused='loss_cls', video='loss_video', audio='loss_audio').items():
        torch.testing.assert_close(found[key], WEIGHTS[name] * plain[key])
    assert found['top1'] == plain['top1']


@HOOKS.register_module()
class KeepsBlending(Hook):
    """Notes the factors of each iteration's losses."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(dict(runner.model.loss_factors))


def experiment(folder, interval=1, held_out=6, **options):
    cfg = synthetic.experiment(8, optimizer=dict(type='AdamW', lr=1e-2))
    cfg['model']['auxiliary'] = ALONE
    cfg['custom_hooks'] = [dict(type='GradientBlendingHook', interval=interval), dict(type='KeepsBlending')]
    cfg['train_dataloader']['dataset']['length'] = 16
    test = cfg['test_dataloader']
    cfg['val_dataloader'] = dict(test, dataset=dict(type='SyntheticClips', length=held_out, views=1))
    cfg |= dict(val_cfg=dict(), val_evaluator=cfg['test_evaluator'], work_dir=str(folder), experiment_name=folder.name)
    cfg |= dict(train_cfg=dict(type='AVTrainLoop', max_epochs=3, val_interval=9))
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1)
    cfg = Config(cfg)
    cfg.merge_from_dict(options)
    return AVRunner.from_cfg(cfg)


def seen(runner):
    return next(hook.seen for hook in runner.hooks if isinstance(hook, KeepsBlending))


def test_weights_are_measured_after_each_super_epoch_and_resumed(tmp_path):
    runner = experiment(tmp_path / 'whole')
    runner.train()
    factors = seen(runner)
    assert factors[0] == factors[1] == pytest.approx(dict.fromkeys(('loss_cls', 'loss_video', 'loss_audio'), 1 / 3))
    assert factors[2] == factors[3] != factors[4] == factors[5]
    assert all(sum(each.values()) == pytest.approx(1) and min(each.values()) > 0.04 for each in factors)
    again = experiment(tmp_path / 'rest', resume=str(tmp_path / 'whole' / 'epoch_2.pth'))
    again.train()
    assert seen(again) == factors[4:]
    torch.testing.assert_close(again.model.state_dict(), runner.model.state_dict(), rtol=0, atol=0)


def test_held_out_losses_are_those_of_the_clips_in_eval_mode(tmp_path):
    runner = experiment(tmp_path / 'held', held_out=5)  # batches of 4 and 1; the last clip has no sound
    hook = next(hook for hook in runner.hooks if isinstance(hook, GradientBlendingHook))
    hook.weights = dict.fromkeys((FUSED, 'video', 'audio'), 1.0)
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    model = runner.model.train()
    model.observers.append(hook._observe)
    model.loss_factors['loss_cls'] = 5.0
    found = hook._measure(runner)
    assert model.training and model.loss_factors == dict(loss_cls=5.0)
    model.eval()
    dataset, total, heard = runner.val_dataloader.dataset, 0.0, 0.0
    with torch.no_grad():
        for i in range(len(dataset)):
            item = dataset[i]
            inputs = {m: x[None] for m, x in item['inputs'].items()}
            masks = {m: x[None] for m, x in item['masks'].items()}
            losses = model(inputs, [item['data_samples']], masks=masks, mode='loss')
            total, heard = total + losses['loss_cls'].item() / 5, heard + losses['loss_audio'].item()
    assert found[FUSED] == pytest.approx(total / 5, rel=1e-4)
    assert found['audio'] == pytest.approx(heard / 4, rel=1e-4)  # of the four clips with a sound
    silent = {m: x[None] for m, x in dataset[4]['inputs'].items()}, {m: x[None] for m, x in dataset[4]['masks'].items()}
    data = dict(inputs=silent[0], masks=silent[1], data_samples=[dataset[4]['data_samples']])
    runner = SimpleNamespace(model=model, val_dataloader=[data])
    with pytest.raises(ConfigError, match='no clip of val_dataloader has a finite loss of audio: hold out clips with'):
        hook._measure(runner)


def test_a_loss_that_is_not_finite_does_not_stay():
    model = make_model(auxiliary=ALONE)
    hook = GradientBlendingHook(1)
    hook.weights = WEIGHTS
    model.observers.append(hook._observe)
    good, bad = make_batch(), make_batch(seed=1)
    losses = model(**good, mode='loss')
    bad['inputs']['audio'][0] = float('nan')
    assert model(**bad, mode='loss')['loss_audio'].isnan()
    means = hook._means(hook._sums)
    assert means['audio'] == pytest.approx(losses['loss_audio'].item()) and means['video'] != losses['loss_video']
    before = dict(fused=(2.0, 2.0), audio=(float('nan'), 2.0))
    assert blending_weights(before, dict(fused=(1.0, 1.5), audio=(1.0, 1.5))) == dict(fused=1.0, audio=0.0)


def of_rank(rank):
    return {key: torch.tensor([0.1 + rank, 4.0 - rank]).double() for key in ('loss_cls', 'loss_video', 'loss_audio')}


def save_and_go_on(rank, folder):
    runner = SimpleNamespace(_resuming=True, _resume=True)
    with join_pair(rank, str(folder / 'pair')):
        hook = GradientBlendingHook(1)
        hook._sums = of_rank(rank)
        hook.read_deferred(runner)
        if rank == 0:
            checkpoint = {}
            hook.before_save_checkpoint(runner, checkpoint)
            torch.save(checkpoint, folder / 'saved.pth')
        torch.distributed.barrier()
        again = GradientBlendingHook(1)
        again.after_load_checkpoint(runner, torch.load(folder / 'saved.pth'))
        assert all(torch.equal(again._sums[key], value) for key, value in of_rank(rank).items())


def test_each_process_goes_on_with_its_sums_in_mid_epoch(tmp_path):
    run_pair(save_and_go_on, tmp_path)
    alone = GradientBlendingHook(1)
    alone.after_load_checkpoint(SimpleNamespace(_resuming=True, _resume=True), torch.load(tmp_path / 'saved.pth'))
    torch.testing.assert_close(alone._sums['loss_cls'], (of_rank(0)['loss_cls'] + of_rank(1)['loss_cls']))


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (
            dict(held_out=32),
            r'has clips of test_dataloader .*what is chosen by test clips cannot be tested on them: hold',
        ),
        (dict(held_out=16), 'has clips of train_dataloader .*training clips show no overfitting'),
        (dict(interval=3), 'interval=3 has no effect: training ends after 3 epochs'),
    ],
)
def test_lists_that_are_not_held_out(tmp_path, options, text):
    interval, held_out = options.get('interval', 1), options.get('held_out', 6)
    runner = experiment(tmp_path / 'a', interval, held_out, **{'test_dataloader.dataset': dict(length=32, views=1)})
    with pytest.raises(ConfigError, match=text):
        runner.train()


def test_rows_of_one_list_may_be_held_out():
    def loader(**dataset):
        return dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(type='AVDataset', **dataset)))

    one = loader(data_root='data', ann_file='train.csv', indices=[0, 1, 2])
    assert shared_list(one, loader(ann_file='data/train.csv')).endswith('data/train.csv')
    assert shared_list(one, loader(data_root='data', ann_file='train.csv', indices=2))
    assert not shared_list(one, loader(data_root='data', ann_file='train.csv', indices=[3, 4]))
    assert not shared_list(one, loader(data_root='data', ann_file='test.csv')) and not shared_list(one, None)


@pytest.mark.parametrize(
    ('options', 'model', 'text'),
    [
        ({}, {}, 'give either interval .online. or weights .offline.'),
        (dict(interval=0), {}, 'interval=0: give a number of epochs'),
        (dict(weights=WEIGHTS, least=0.1), {}, 'least=0.1 has no effect on weights'),
        (dict(interval=2, least=1.5), {}, 'least=1.5: give a share'),
        (dict(weights=dict(WEIGHTS, audio=-1)), {}, r'weights\.audio=-1: give a number from 0'),
        (dict(weights=dict(fused=1, video=1)), {}, 'weights has none for audio'),
        (dict(weights=dict(WEIGHTS, vidio=1)), {}, r"weights\.vidio: .* did you mean 'video'"),
        (dict(weights=dict(fused=1, video=0, audio=0)), {}, 'weights are 0 for all modalities'),
        (dict(weights=WEIGHTS), dict(auxiliary=None), 'the model has none: add model.auxiliary'),
        (dict(weights=WEIGHTS), dict(auxiliary=dict(a=dict(type='UnimodalHeads', detach=True))), 'detach=True'),
        (
            dict(weights=WEIGHTS),
            dict(auxiliary=dict(a=dict(type='UnimodalHeads', loss_weight=2.0))),
            'loss_weight=.* out',
        ),
        (dict(weights=WEIGHTS), dict(backbones=dict(BACKBONES, audio=None)), 'no effect on a model of video alone'),
    ],
)
def test_what_makes_no_sense(options, model, text):
    with pytest.raises(ConfigError, match=text):
        GradientBlendingHook(**options).before_train(make_runner(make_model(**{'auxiliary': ALONE, **model})))


def test_sharded_models_have_given_weights(monkeypatch):
    monkeypatch.setattr('mmav.engine.hooks.gradient_blending.is_spread', lambda model: True)
    with pytest.raises(ConfigError, match='weights are not measured with fsdp: leave fsdp out, or give weights'):
        GradientBlendingHook(2).before_train(make_runner(make_model(auxiliary=ALONE)))


def test_without_a_held_out_list_or_epochs():
    runner = make_runner(make_model(auxiliary=ALONE))
    runner.val_loop = None
    with pytest.raises(ConfigError, match='measures on val_dataloader, and there is none: hold out a part'):
        GradientBlendingHook(2).before_train(runner)
    runner.train_loop.by_iterations = True
    with pytest.raises(ConfigError, match='counts epochs, but training counts iterations'):
        GradientBlendingHook(2).before_train(runner)
