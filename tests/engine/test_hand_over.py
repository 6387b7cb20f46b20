"""The copy of the next batch while a step runs, with streams that write down what is asked of them."""

import contextlib
import random
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmav.engine import AVRunner, loops
from mmav.engine.hand_over import ahead_of, hand_over_ahead, tensors_within
from mmav.errors import ConfigError, MmavError, TrainingStopped
from mmav.models import AVDataPreprocessor
from mmav.models.data_preprocessor import HandedOver
from mmav.registry import DATASETS
from mmav.structures import AVDataSample
from tests import synthetic, toys
from tests.models.test_data_preprocessor import NORM, make_batch

MEL = dict(num_mel_bins=16, target_frames=32)


class Streams:
    """Streams of a device on which a copy is done when it is asked for.

    Attributes:
        log: What was asked for, in order.
    """

    def __init__(self):
        self.log, self.marks, self.inside = [], 0, False

    @contextlib.contextmanager
    def copying(self):
        self.inside = True
        yield
        self.inside = False

    def mark(self):
        assert self.inside  # behind the copies
        self.marks += 1
        self.log.append(f'copy {self.marks}')
        return self.marks

    def wait(self, mark, tensors):
        assert len(list(tensors)) >= 3
        self.log.append(f'wait {mark}')


def test_each_copy_is_sent_a_step_ahead():
    streams, preprocessor = Streams(), AVDataPreprocessor(NORM)
    batches = [make_batch(absent=k) for k in range(3)]
    for k, data in enumerate(hand_over_ahead(batches, preprocessor, streams), 1):
        streams.log.append(f'step {k}')
        assert isinstance(data, HandedOver)
        expected = preprocessor(batches[k - 1])
        torch.testing.assert_close(preprocessor(data)['inputs'], expected['inputs'], rtol=0, atol=0)
        assert torch.equal(data['masks']['audio'], expected['masks']['audio'])
    assert streams.log == [*('copy 1', 'copy 2', 'wait 1', 'step 1', 'copy 3', 'wait 2', 'step 2', 'wait 3', 'step 3')]


@pytest.mark.parametrize('number', [0, 1])
def test_short_passes(number):
    found = hand_over_ahead([make_batch()] * number, AVDataPreprocessor(NORM), Streams())
    assert len(list(found)) == number


def test_an_error_in_the_next_batch_comes_after_this_step():
    def batches():
        yield make_batch()
        raise MmavError('the second is a mistake')

    found = hand_over_ahead(batches(), AVDataPreprocessor(NORM), Streams())
    assert 'video' in next(found)['inputs']
    with pytest.raises(MmavError, match='the second is a mistake'):
        next(found)


def test_on_a_cpu_nothing_changes():
    batches = [make_batch()]
    model = SimpleNamespace(data_preprocessor=AVDataPreprocessor())
    assert ahead_of(model, batches) is batches
    assert ahead_of(SimpleNamespace(module=model), batches) is batches
    assert ahead_of(SimpleNamespace(), batches) is batches


def test_all_tensors_are_kept():
    sample = AVDataSample(metainfo=dict(path='a')).set_gt_label(1)
    found = list(tensors_within(dict(a=torch.zeros(1), b=[torch.zeros(2), None], c='text', d=[sample], e=3)))
    assert [tuple(x.shape) for x in found] == [(1,), (2,), ()]


@DATASETS.register_module()
class SyntheticSounds(synthetic.SyntheticClips):
    """With frames as they are decoded, and waveforms; notes what is read."""

    read: list = []

    def __getitem__(self, index):
        self.read.append(index)
        item = super().__getitem__(index)
        generator = torch.Generator().manual_seed(index)
        length = 400 + 160 * (31 - index % 7) if item['masks']['audio'] else 0
        wave = torch.zeros(2, 1, 400 + 160 * 31)
        wave[..., :length] = torch.randn(2, 1, length, generator=generator)
        frames = torch.randint(256, (2, 3, 4, 16, 16), dtype=torch.uint8, generator=generator)
        return dict(item, inputs=dict(video=frames, audio=wave), lengths=dict(audio=torch.full((2,), length)))


def config(work_dir, **more):
    cfg = synthetic.experiment(8, optimizer=dict(type='AdamW', lr=1e-2))
    cfg['model']['data_preprocessor'] = dict(
        type='AVDataPreprocessor',
        norm=dict(video=dict(mean=114.75, std=57.375), audio=dict(mean=-4.0, std=9.0)),
        random_erasing=dict(p=0.5),
        log_mel=MEL,
        spec_augment=dict(freq_mask=6, time_mask=12, skip_padding=True),
        batch_augment=dict(type='MixupCutmix', num_classes=synthetic.CLASSES),
        trim=dict(audio=32),
    )
    cfg['train_dataloader']['dataset'] = dict(type='SyntheticSounds')
    for name in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        cfg.pop(name)
    cfg['default_hooks'] = dict(checkpoint=dict(type='CheckpointHook', interval=2), seed=dict(type='SeedHook'))
    cfg['train_cfg'] = dict(by_epoch=True, max_epochs=2)
    return Config(dict(cfg, work_dir=str(work_dir), experiment_name=f'{work_dir.name}_{more.get("resume")}', **more))


def train(work_dir, stop=None, resume=False):
    """Weights at the end, and what was read."""
    random.seed(0)
    hooks = dict(resume_point=dict(type='ResumePointHook'))
    signal = [dict(type=toys.SignalHook.__name__, number=15, after_iter=stop)] if stop else []
    cfg = config(work_dir, custom_hooks=signal, resume=resume)
    cfg.default_hooks.update(hooks)
    SyntheticSounds.read.clear()
    runner = AVRunner.from_cfg(cfg)
    with pytest.raises(TrainingStopped) if stop else contextlib.nullcontext():
        runner.train()
    return {name: value.clone() for name, value in runner.model.state_dict().items()}, list(SyntheticSounds.read)


def test_a_run_with_steps_on_the_device_resumes_exactly_with_and_without(tmp_path, monkeypatch):
    """Stopped after 2 of 4 batches a pass, when the third is on its way."""
    plain, read = train(tmp_path / 'plain')
    monkeypatch.setattr(
        loops, 'ahead_of', lambda model, batches: hand_over_ahead(batches, model.data_preprocessor, Streams())
    )
    ahead, read_ahead = train(tmp_path / 'ahead')
    assert read_ahead == read
    _, first = train(tmp_path / 'stopped', stop=2)
    assert first == read[:24]
    resumed, rest = train(tmp_path / 'stopped', resume=True)
    assert rest == read[16:]
    for name, value in plain.items():
        assert torch.equal(value, ahead[name]) and torch.equal(value, resumed[name]), name


def test_it_can_be_switched_off(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(loops, 'ahead_of', lambda model, batches: asked.append(1) or batches)
    for on in (True, False):
        cfg = config(tmp_path / f'{on}')
        cfg.train_cfg = dict(by_epoch=False, max_iters=1, hand_over=on)
        cfg.default_hooks.checkpoint.by_epoch = False
        AVRunner.from_cfg(cfg).train()
        assert len(asked) == 1
    cfg.train_cfg.hand_over = 'no'
    with pytest.raises(ConfigError, match="train_cfg.hand_over='no': give True or False"):
        AVRunner.from_cfg(cfg).train()


@pytest.mark.gpu
@pytest.mark.parametrize('pinned', [False, True])
def test_batches_on_a_gpu_are_those_of_the_cpu(pinned):
    """Many batches, whose memory is used again and again, while kernels still read it."""
    batches = [make_batch(batch=16, views=4, absent=k % 16) for k in range(40)]
    if pinned:
        for batch in batches:
            batch['inputs'] = {name: value.pin_memory() for name, value in batch['inputs'].items()}
    model = SimpleNamespace(data_preprocessor=AVDataPreprocessor(NORM).cuda())
    busy, found = torch.randn(2048, 2048, device='cuda'), []
    for data in ahead_of(model, iter(batches)):
        for _ in range(20):
            busy = busy @ busy.clamp(-1, 1)
        out = model.data_preprocessor(data, training=True)
        found.append({name: value.double().sum() for name, value in out['inputs'].items()})
        assert out['masks']['audio'].is_cuda
    for sums, batch in zip(found, batches, strict=True):
        expected = AVDataPreprocessor(NORM)(batch)['inputs']
        for name, value in expected.items():
            torch.testing.assert_close(sums[name].cpu(), value.double().sum(), rtol=1e-5, atol=1e-2)
