"""Class weights that balance the training clips: counted from the dataset, whatever wraps it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from torch import nn

from mmav.datasets import AVDataset, ClassBalancedSampler, ConcatDataset, RepeatDataset
from mmav.engine import AVRunner
from mmav.engine.class_balance import balance_losses, count_clips
from mmav.errors import ConfigError
from mmav.models import BCELoss, ClsHead, MultiLabelHead
from tests.engine.test_class_heads import NAMES, experiment

CLASSES = ('cat', 'dog', 'fox')


@pytest.fixture
def clips(tmp_path):
    (tmp_path / 'one.csv').write_text('path,label\na,cat\nb,dog\nc,cat\nd,cat\n')
    (tmp_path / 'several.csv').write_text('path,label\na,cat|dog\nb,\nc,cat\nd,cat\n')

    def make(name, **options):
        return AVDataset(f'{name}.csv', [], classes=CLASSES, data_root=str(tmp_path), **options)

    return make


def counted(dataset, part='label'):
    counts, number = count_clips(dataset, part, 'class_weight')
    return counts.tolist(), number


def test_counts(clips):
    assert counted(clips('one')) == ([3, 1, 0], 4)
    assert counted(clips('one', indices=[0, 1])) == ([1, 1, 0], 2)
    several = clips('several', multi_label=True)
    assert counted(several) == ([3, 1, 0], 4)
    assert counted(clips('several', multi_label=True, indices=[1, 3, 3])) == ([2, 0, 0], 3)
    assert counted(RepeatDataset(several, 2)) == ([6, 2, 0], 8)
    assert counted(ConcatDataset([several, several])) == ([6, 2, 0], 8)


def test_labels_that_are_not_known(clips):
    with pytest.raises(ConfigError, match="class_weight='balanced' counts the clips of each label: .* of a Module are"):
        counted(nn.Module())
    with pytest.raises(ConfigError, match="the clips of each verb: .*one.csv has no label 'verb'.*; or give numbers"):
        counted(clips('one'), 'verb')


def test_sets_the_weights(clips, monkeypatch):
    said = []
    monkeypatch.setattr('mmav.engine.class_balance.print_log', lambda text, *_: said.append(text))
    loss = dict(type='BCELoss', class_weight='balanced', pos_weight='balanced')
    model = nn.ModuleDict(dict(head=MultiLabelHead(3, dict(x=2), loss)))
    balance_losses(model, clips('several', multi_label=True))
    weights = model['head'].loss_module.weights
    assert weights.of('class_weight').tolist() == pytest.approx([4 / 9, 4 / 3, 4 / 3])
    assert weights.of('pos_weight').tolist() == pytest.approx([1 / 3, 3, 3])
    assert said[0] == (
        "head.loss: class_weight='balanced' is 0.4444 (class 0) to 1.333 (class 1), of 4 training clips; "
        'classes without one: 1'
    )
    expected = BCELoss(class_weight=[4 / 9, 4 / 3, 4 / 3], pos_weight=[1 / 3, 3, 3])
    logits, target = torch.randn(4, 3), torch.eye(4, 3)
    torch.testing.assert_close(model['head'].loss_module(logits, target), expected(logits, target))


@pytest.mark.parametrize('wrap', [lambda sampler: sampler, lambda sampler: SimpleNamespace(inner=sampler)])
def test_both_ways_to_balance_at_once_are_told(clips, monkeypatch, wrap):
    said = []
    monkeypatch.setattr('mmav.engine.class_balance.print_log', lambda text, *_, **__: said.append(text))
    for sampler, warned in ((ClassBalancedSampler(clips('one'), 0), True), (DefaultSampler(clips('one')), False)):
        said.clear()
        loss = dict(type='CrossEntropyLoss', class_weight='balanced')
        balance_losses(nn.ModuleDict(dict(head=ClsHead(3, dict(x=2), loss))), clips('one'), wrap(sampler))
        assert any('ClassBalancedSampler both balance classes' in text for text in said) == warned


def balanced(folder):
    cfg = experiment(folder, NAMES)
    cfg.model.head.loss = dict(type='CrossEntropyLoss', class_weight='balanced')
    return cfg


def test_the_runner_counts_before_it_trains(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='of a SyntheticClips are not known: .*; or give numbers'):
        AVRunner.from_cfg(balanced(tmp_path)).train()
    counts = list(range(1, len(NAMES) + 1))
    monkeypatch.setattr('mmav.engine.class_balance.count_clips', lambda *_: (np.array(counts), 20))
    runner = AVRunner.from_cfg(balanced(tmp_path / 'b'))
    runner.train()
    found = runner.plain_model.head.loss_module.weights.of('class_weight')
    assert found.tolist() == pytest.approx([20 / (len(NAMES) * number) for number in counts])
