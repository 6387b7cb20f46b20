"""What the runner builds: one seed for all that training draws, functions by name. Loops and wrappers: test_runner."""

import logging
from functools import partial

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import runner as mmengine_runner
from torch.utils.data import DataLoader

from mmav.config.reading import load_config
from mmav.datasets import AVDataset, av_collate
from mmav.engine import AVRunner, turn_on_activation_checkpointing
from mmav.registry import FUNCTIONS, TRANSFORMS
from mmav.structures import AVDataSample
from tests import toys

DRAWN: list[tuple[int, float]] = []


@TRANSFORMS.register_module()
class DrawPoint:
    """A point that is drawn, in place of a clip that is read."""

    def __call__(self, results: dict) -> dict:
        point = results['rng'].standard_normal(4)
        DRAWN.append((results['sample_idx'], float(point[0])))
        sample = AVDataSample(
            metainfo={name: results[name] for name in ('path', 'start', 'end', 'sample_idx', 'broken')}
        )
        return dict(inputs=torch.tensor(point).float(), data_samples=sample.set_gt_label(results['label']['label']))


@FUNCTIONS.register_module()
def collate_of_this_test(clips: list, factor: int = 1) -> list:
    return clips * factor


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'm.csv').write_text('path,label\n' + ''.join(f'{k}.mp4,{k % 3}\n' for k in range(12)))
    for k in range(12):
        (tmp_path / f'{k}.mp4').write_bytes(b'not read')
    return tmp_path


def dataset_config(folder, **options):
    return dict(
        type='AVDataset',
        ann_file='m.csv',
        data_root=str(folder),
        classes=['a', 'b', 'c'],
        pipeline=[dict(type='DrawPoint')],
        **options,
    )


def loader_of(dataset, seed, **options):
    sampler = dict(type='DefaultSampler', shuffle=False)
    with DefaultScope.overwrite_default_scope('mmav'):
        return AVRunner.build_dataloader(dict(batch_size=4, dataset=dataset, sampler=sampler, **options), seed=seed)


def train(folder, work_dir, *options, more='', **dataset):
    """Trains a toy, and gives what was drawn for each clip, epoch by epoch."""
    text = f"train_dataloader['dataset'] = {dataset_config(folder, **dataset)!r}\n"
    path = toys.write_config(folder, text + 'val_dataloader = val_cfg = val_evaluator = None\n' + more)
    DRAWN.clear()
    options = ['--cfg-options', 'train_cfg.max_epochs=2', *options]
    assert toys.run_tool('train.py', path, '--work-dir', work_dir, '--resume', *options) == 0
    return [dict(DRAWN[k : k + 12]) for k in range(0, len(DRAWN), 12)]


def test_the_seed_of_a_run_decides_its_augmentation(folder, capsys):
    one, again, two = (
        train(folder, folder / name, f'randomness.seed={seed}') for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    assert one == again and len(one) == 2 and len(one[0]) == 12
    # of each clip and epoch another draw
    assert not {*one[0].values(), *one[1].values()} & {*two[0].values(), *two[1].values()}
    assert 'are augmented by seed' not in capsys.readouterr().out
    # the dataset keeps a seed of its own, which is said
    own = train(folder, folder / 'd', 'randomness.seed=2', seed=1)
    assert own == one
    assert 'are augmented by seed 1, as its config or the checkpoint says' in capsys.readouterr().out


def test_without_a_seed_a_resumed_run_goes_on_with_the_one_that_was_drawn(folder):
    """Also its sampler: what is left of the round are the clips that were not read."""
    stop = "custom_hooks = [dict(type='SignalHook', number=15, after_iter=2)]\n"
    (begun,) = train(folder, folder / 'w', 'randomness.seed=None', more=stop)
    saved = torch.load(folder / 'w' / 'iter_2.pth', weights_only=True)['meta']
    assert len(begun) == 8 and saved['seed'] == saved['data_seed']
    train(folder, folder / 'w', 'randomness.seed=None')
    rest = dict(DRAWN[:4])
    assert not begun.keys() & rest.keys() and len(DRAWN) == 4 + 12
    data = AVDataset(**{k: v for k, v in dataset_config(folder, seed=saved['seed']).items() if k != 'type'})
    assert {k: float(data[k]['inputs'][0]) for k in range(12)} == pytest.approx(begun | rest)


def test_a_checkpoint_of_an_earlier_version_goes_on_with_its_augmentation(folder, capsys):
    """They augmented by seed 0, whatever the run's."""
    whole = train(folder, folder / 'a', 'randomness.seed=0')
    train(folder, folder / 'b', 'randomness.seed=1', 'train_cfg.max_epochs=1')
    checkpoint = torch.load(folder / 'b' / 'epoch_1.pth', weights_only=True)
    del checkpoint['meta']['data_seed']
    torch.save(checkpoint, folder / 'b' / 'epoch_1.pth')
    assert train(folder, folder / 'b', 'randomness.seed=1') == [whole[1]]
    assert 'augmented by seed 0, as its config or the checkpoint says' in capsys.readouterr().out
    checkpoint = torch.load(folder / 'b' / 'epoch_2.pth', weights_only=True)['meta']
    assert (checkpoint['seed'], checkpoint['data_seed']) == (1, 0)


def test_which_datasets_follow_the_seed_of_a_run(folder):
    wrapped = dict(type='RepeatDataset', times=2, dataset=dataset_config(folder))
    joined = dict(type='ConcatDataset', datasets=[wrapped, dataset_config(folder, seed=3)])
    followed, own = loader_of(joined, 7).dataset.datasets
    assert (followed.dataset.seed, own.seed) == (7, 3)
    # a checkpoint's figures do not depend on the run
    assert loader_of(dataset_config(folder, test_mode=True), 7).dataset.seed == 0
    assert loader_of(dataset_config(folder), None).dataset.seed == 0


def test_a_runner_of_a_users_script_has_mmengine_patched(tmp_path, monkeypatch):
    monkeypatch.setattr(mmengine_runner, 'turn_on_activation_checkpointing', None)
    cfg = load_config(str(toys.write_config(tmp_path)))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'w'), tmp_path.name
    AVRunner.from_cfg(cfg)
    assert mmengine_runner.turn_on_activation_checkpointing is turn_on_activation_checkpointing


def test_functions_are_found_by_name(folder):
    collate = loader_of(toys.ToyDataset(), 0, collate_fn=dict(type='av_collate')).collate_fn
    assert collate.func is av_collate
    collate = loader_of(toys.ToyDataset(), 0, collate_fn=dict(type='collate_of_this_test', factor=2)).collate_fn
    assert isinstance(collate, partial) and collate([1]) == [1, 1]
    assert loader_of(toys.ToyDataset(), 0, collate_fn=dict(type='pseudo_collate')).collate_fn.func.__name__ == (
        'pseudo_collate'
    )
    # by MMEngine's own runner with their scope
    options = dict(batch_size=4, dataset=toys.ToyDataset(), sampler=dict(type='DefaultSampler', shuffle=False))
    assert Runner.build_dataloader(dict(options, collate_fn=dict(type='mmav.av_collate'))).collate_fn.func is av_collate


def test_a_part_of_a_schedule_shorter_than_a_step_has_no_effect():
    """A warm-up of a tenth of an epoch of three steps; of one step it would leave the rate where it begins."""
    runner = AVRunner.__new__(AVRunner)
    runner.logger = logging.getLogger()
    runner._train_loop = type('Loop', (BaseLoop,), dict(run=None, max_epochs=2))(runner, DataLoader(range(3)))
    weight = torch.nn.Parameter(torch.zeros(1))
    for end, kinds in ((0.1, ['Cosine']), (0.4, ['Cosine']), (1, ['Linear', 'Cosine'])):
        runner.optim_wrapper = OptimWrapper(torch.optim.SGD([weight], lr=1.0))
        by_epoch = dict(by_epoch=True, convert_to_iter_based=True)
        warm_up = dict(type='LinearLR', start_factor=0.01, begin=0, end=end, **by_epoch)
        built = runner.build_param_scheduler([warm_up, dict(type='CosineAnnealingLR', begin=end, end=2, **by_epoch)])
        assert [type(each).__name__.removesuffix('LR').removesuffix('Annealing') for each in built] == kinds
        rates = []
        for _ in range(6):
            rates += runner.optim_wrapper.get_lr()['lr']
            runner.optim_wrapper.step()
            for each in built:
                each.step()
        assert max(rates) == pytest.approx(1.0)
