from __future__ import annotations

import os

import pytest
import torch
from mmengine.dataset import ConcatDataset, DefaultSampler, InfiniteSampler, RepeatDataset
from mmengine.registry import init_default_scope
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from mmav.datasets import AVDataset, ResumableSampler
from mmav.datasets.broken_clips import BROKEN, WHOLE
from mmav.engine import loader_check
from mmav.engine.loader_check import check_contrast, check_loader, judge_all, judge_so_far
from mmav.errors import ConfigError, TooManyBrokenClips
from mmav.models.heads import ContrastiveHead
from mmav.registry import DATASETS
from tests.processes import join_pair, run_pair


def dataset(folder, number=3, **options):
    (folder / 'clip.mp4').touch()
    (folder / 'm.csv').write_text('path,label\n' + 'clip.mp4,0\n' * number)
    return AVDataset('m.csv', [], data_root=str(folder), classes=['x'], **options)


def config(data):
    return dict(type='AVDataset', ann_file='m.csv', pipeline=[], data_root=data.data_root, classes=['x'])


def loader(data, **options):
    return DataLoader(data, **{'batch_size': 4, 'sampler': DefaultSampler(data), **options})


def test_fewer_clips_than_a_batch(tmp_path, monkeypatch):
    init_default_scope('mmav')
    data = dataset(tmp_path)
    check_loader('train_dataloader', loader(data))
    check_loader('train_dataloader', loader(data, batch_size=3, drop_last=True))
    check_loader('train_dataloader', loader(data, drop_last=True, sampler=InfiniteSampler(data)))
    message = r'train_dataloader: 3 clips are fewer than batch_size=4, and drop_last=True .*batch_size=3 or less'
    resumable = ResumableSampler(data, dict(type='DefaultSampler'))
    batches = dict(batch_size=1, sampler=None, batch_sampler=BatchSampler(DefaultSampler(data), 4, drop_last=True))
    for options in (dict(drop_last=True), dict(drop_last=True, sampler=resumable), batches):
        with pytest.raises(ConfigError, match=message):
            check_loader('train_dataloader', loader(data, **options))
    with pytest.raises(ConfigError, match='2 clips are fewer than batch_size=4'):
        check_loader('train_dataloader', loader(dataset(tmp_path, 9, indices=2), drop_last=True))
    repeated = RepeatDataset(config(data), 2)
    check_loader('train_dataloader', loader(repeated, sampler=DefaultSampler(repeated), drop_last=True))
    monkeypatch.setattr(loader_check, 'get_world_size', lambda: 2)
    monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (0, 2))
    seven = dataset(tmp_path, 7)
    check_loader('train_dataloader', loader(seven, sampler=DefaultSampler(seven), drop_last=True))
    six = dataset(tmp_path, 6)
    with pytest.raises(ConfigError, match='3 clips for each of 2 processes, 6 in all, are fewer than batch_size=4'):
        check_loader('train_dataloader', loader(six, sampler=DefaultSampler(six), drop_last=True))


@pytest.mark.parametrize('name', ['val_dataloader', 'test_dataloader'])
def test_no_clip_is_counted_twice_or_left_out(tmp_path, name):
    init_default_scope('mmav')
    inner = dict(config(dataset(tmp_path)), test_mode=True)
    joined = dict(type='ConcatDataset', datasets=[inner, dict(type='RepeatDataset', dataset=inner, times=2)])
    with pytest.raises(ConfigError, match=f'{name}: a RepeatDataset would count clips several times'):
        check_loader(name, loader(DATASETS.build(joined)))
    check_loader(name, loader(DATASETS.build(dict(joined, datasets=[inner, inner]))))
    data = dataset(tmp_path, test_mode=True)
    sampler = ResumableSampler(data, dict(type='ClassBalancedSampler'), seed=0)
    with pytest.raises(ConfigError, match=f'{name}.sampler: a ClassBalancedSampler would leave clips out'):
        check_loader(name, loader(data, sampler=sampler))


@pytest.mark.parametrize('name', ['val_dataloader', 'test_dataloader'])
def test_no_clip_is_left_out_or_changed_in_testing(tmp_path, name):
    data = dataset(tmp_path, 9, test_mode=True)
    check_loader(name, loader(data))
    batches = BatchSampler(DefaultSampler(data), 4, drop_last=True)
    for options in (dict(drop_last=True), dict(batch_size=1, sampler=None, batch_sampler=batches)):
        with pytest.raises(ConfigError, match=rf'{name}.drop_last=True: the last clips would be left out'):
            check_loader(name, loader(data, **options))
    with pytest.raises(ConfigError, match=rf'{name}: .*m.csv has test_mode=False.* set {name}.dataset.test_mode=True'):
        check_loader(name, loader(dataset(tmp_path)))
    with pytest.raises(ConfigError, match='has test_mode=True.* set train_dataloader.dataset.test_mode=False'):
        check_loader('train_dataloader', loader(data))
    with pytest.raises(ConfigError, match=r"modality_dropout={'audio': 0.5} has no effect in testing.*use drop"):
        check_loader(name, loader(dataset(tmp_path, test_mode=True, modality_dropout=dict(audio=0.5))))


def test_missing_files_are_noticed_in_wrappers(tmp_path):
    init_default_scope('mmav')
    data = dataset(tmp_path)
    (tmp_path / 'clip.mp4').unlink()
    both = ConcatDataset([dict(type='RepeatDataset', times=2, dataset=config(data))])
    with pytest.raises(TooManyBrokenClips, match='none of the 3 clips'):
        check_loader('train_dataloader', loader(both, sampler=DefaultSampler(both)))


def test_loaders_that_are_not_ours_pass():
    check_loader('val_dataloader', [1, 2])
    check_loader('val_dataloader', DataLoader(range(3)))
    judge_all(DataLoader(range(3)))


def test_contrastive_losses_need_another_clip():
    model = nn.Sequential(ContrastiveHead(dict(video=8, audio=8), 4))
    check_contrast(DataLoader(range(3), batch_size=2), model)
    check_contrast(DataLoader(range(3), batch_size=1), nn.Linear(1, 1))
    with pytest.raises(ConfigError, match='train_dataloader.batch_size=1: contrastive losses compare the clips'):
        check_contrast(DataLoader(range(3), batch_size=1), model)


def test_a_verdict_that_cannot_change_any_more_is_given_at_once(tmp_path, monkeypatch):
    data = dataset(tmp_path, 100, test_mode=True)
    data.states[:60] = WHOLE
    data.states[:10] = BROKEN
    judge_so_far(loader(data))
    data.states[10] = BROKEN
    lines = []
    monkeypatch.setattr(loader_check, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    with pytest.raises(TooManyBrokenClips, match='11 of the 60 clips seen'):
        judge_so_far(loader(data))
    assert lines == [f'cannot be read: {tmp_path}/clip.mp4'] * 11


def judge_in_pair(rank, folder):
    """Each process has met other broken clips, neither of them too many."""
    os.environ['LOCAL_RANK'] = str(rank)
    verdicts = []
    with join_pair(rank, str(folder / 'pair')):
        for number in (5, 8):
            data = dataset(folder / str(rank), 100, test_mode=True)
            data.states[rank::2] = WHOLE
            data.states[rank : 2 * number : 2] = BROKEN
            judge_so_far(loader(data))
            try:
                judge_all(loader(data))
                verdicts.append('')
            except TooManyBrokenClips as error:
                verdicts.append(str(error))
    torch.save(verdicts, folder / f'{rank}.pth')


def test_processes_judge_together_and_alike(tmp_path):
    for rank in range(2):
        (tmp_path / str(rank)).mkdir()
    run_pair(judge_in_pair, tmp_path)
    for rank in range(2):
        few, many = torch.load(tmp_path / f'{rank}.pth')
        assert few == '' and many.startswith('16 of the 100 clips seen')
