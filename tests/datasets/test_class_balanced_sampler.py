from __future__ import annotations

from collections import Counter

import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils.data import WeightedRandomSampler

from mmav.datasets import AVDataset, ClassBalancedSampler, ResumableSampler
from mmav.datasets import class_balanced_sampler as module
from mmav.errors import ConfigError
from mmav.registry import DATA_SAMPLERS
from tests import toys


@pytest.fixture
def data(tmp_path):
    """90 clips of one class, 10 of another."""
    (tmp_path / 'm.csv').write_text('path,label\n' + 'a.mp4,0\n' * 90 + 'b.mp4,1\n' * 10)
    return AVDataset(str(tmp_path / 'm.csv'), [], classes=['a', 'b'])


def several(tmp_path, cells):
    (tmp_path / 's.csv').write_text('path,label\n' + ''.join(f'a.mp4,{cell}\n' for cell in cells))
    return AVDataset(str(tmp_path / 's.csv'), [], classes=['a', 'b'], multi_label=True)


def test_it_draws_as_ast_does(data):
    """``WeightedRandomSampler(weights, len(weights), replacement=True)`` of the same generator."""
    weights = torch.tensor([1000 / 90.01] * 90 + [1000 / 10.01] * 10, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3 + 2)
    expected = list(WeightedRandomSampler(weights, 100, replacement=True, generator=generator))
    sampler = ClassBalancedSampler(data, seed=3)
    sampler.set_epoch(2)
    assert list(sampler) == expected and len(sampler) == 100


def test_an_epoch_is_a_function_of_seed_and_epoch(data):
    sampler, other = (ClassBalancedSampler(data, seed=0) for _ in range(2))
    first = list(sampler)
    assert list(sampler) == first == list(other)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(ClassBalancedSampler(data, seed=1)) != first
    classes = Counter(index >= 90 for epoch in range(30) for index in [sampler.set_epoch(epoch), *sampler][1:])
    assert abs(classes[True] / 3000 - 0.5) < 0.05
    rooted = ClassBalancedSampler(data, seed=0, power=0.5)
    classes = Counter(index >= 90 for epoch in range(30) for index in [rooted.set_epoch(epoch), *rooted][1:])
    assert abs(classes[True] / 3000 - 0.25) < 0.05


def test_a_clip_that_comes_again_in_an_epoch_is_drawn_anew(data):
    drawn = list(ClassBalancedSampler(data, seed=0))
    for index, number in Counter(drawn).items():
        assert sorted(draw.repeat for draw in drawn if draw == index) == list(range(number))


@pytest.mark.parametrize('number', [None, 7])
def test_processes_share_one_order(data, monkeypatch, number):
    whole = list(ClassBalancedSampler(data, seed=0, num_samples=number))
    shares = []
    for rank in range(3):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, 3))
        shares.append(ClassBalancedSampler(data, seed=0, num_samples=number))
        assert len(list(shares[-1])) == len(shares[-1])
    dealt = [index for turn in zip(*shares, strict=True) for index in turn]
    assert dealt[: len(whole)] == whole and dealt[len(whole) :] == whole[: len(dealt) - len(whole)]
    repeats = [index.repeat for turn in zip(*shares, strict=True) for index in turn]
    assert repeats[: len(whole)] == [index.repeat for index in whole]


def test_it_goes_on_in_the_middle(data):
    sampler = ResumableSampler(data, dict(type='ClassBalancedSampler'), seed=5)
    whole = list(sampler)
    sampler.skip = 40
    rest = list(sampler)
    assert rest == whole[40:] and [index.repeat for index in rest] == [index.repeat for index in whole[40:]]


def test_clips_without_a_class_are_not_drawn_and_told(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(module, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    sampler = ClassBalancedSampler(several(tmp_path, ['a', 'a|b', '', 'b', '']), seed=0, num_samples=50)
    assert set(sampler) == {0, 1, 3}
    assert lines == ['ClassBalancedSampler: 2 of 5 training clips have no class and are not drawn']


def test_without_replacement_a_clip_comes_once(tmp_path):
    data = several(tmp_path, ['a', 'a|b', '', 'b', ''])
    assert len(set(ClassBalancedSampler(data, seed=0, num_samples=2, replacement=False))) == 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(offset=0), 'offset=0 must be above 0'),
        (dict(power=0), 'power=0 must be above 0'),
        (dict(combine='mean'), "combine='mean' is unknown"),
        (dict(combine='max'), "combine='max' has no effect, as no clip has several"),
        (dict(num_samples=0), 'num_samples=0 must be a whole number'),
        (dict(num_samples=2.5), 'num_samples=2.5 must be a whole number'),
        (dict(replacement=False), 'replacement=False draws all of the 100 clips once, which balances nothing'),
        (dict(replacement=False, num_samples=101), 'replacement=False cannot draw 101 of 100 clips'),
        (dict(part='verb'), "has no label 'verb': choose label"),
    ],
)
def test_what_makes_no_sense_is_refused(data, options, message):
    with pytest.raises(ConfigError, match=message):
        ClassBalancedSampler(data, seed=0, **options)


def test_datasets_that_cannot_be_balanced_are_refused(tmp_path):
    with pytest.raises(ConfigError, match='the labels of a ToyDataset are not known'):
        DATA_SAMPLERS.build(dict(type='ClassBalancedSampler', dataset=toys.ToyDataset(), seed=0))
    with pytest.raises(ConfigError, match='none of the 2 clips has a class'):
        ClassBalancedSampler(several(tmp_path, ['', '']), seed=0)
    (tmp_path / 'm.csv').write_text('path,verb,noun\na.mp4,0,0\na.mp4,0,1\n')
    actions = AVDataset(str(tmp_path / 'm.csv'), [], classes=dict(verb=['cut'], noun=['cup', 'pan']))
    with pytest.raises(ConfigError, match="parts verb and noun: name the one to balance, part='verb'"):
        ClassBalancedSampler(actions, seed=0)
    assert len(list(ClassBalancedSampler(actions, seed=0, part='noun'))) == 2
    init_default_scope('mmav')
