"""Class weights that balance the training clips: counted from the dataset, whatever wraps it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmav.datasets import AVDataset
from mmav.engine import AVRunner
from mmav.engine.class_balance import balance_losses, count_clips
from mmav.errors import ConfigError
from mmav.models import BCELoss, MultiLabelHead
from tests.engine.test_class_heads import NAMES, experiment

CLASSES = ('cat', 'dog', 'fox')


@pytest.fixture
def clips(tmp_path):
    (tmp_path / 'one.csv').write_text('path,label\na,cat\nb,dog\nc,cat\nd,cat\n')
    (tmp_path / 'several.csv').write_text('path,label\na,cat|dog\nb,\nc,cat\nd,cat\n')

    def make(name, **options):
        return AVDataset(f'{name}.csv', [], classes=CLASSES, data_root=str(tmp_path), **options)

    return make


def test_counts(clips):
    assert clips('one').class_counts()['label'].tolist() == [3, 1, 0]
    assert clips('one', indices=[0, 1]).class_counts()['label'].tolist() == [1, 1, 0]
    several = clips('several', multi_label=True)
    assert several.class_counts()['label'].tolist() == [3, 1, 0]
    assert clips('several', multi_label=True, indices=[1, 3, 3]).class_counts()['label'].tolist() == [2, 0, 0]
    joined = SimpleNamespace(datasets=[several, SimpleNamespace(dataset=clips('one'))])
    counts, number = count_clips(joined, 'label', 'class_weight')
    assert (counts.tolist(), number) == ([6, 2, 0], 8)
    for other in (nn.Module(), SimpleNamespace(dataset=None)):
        with pytest.raises(ConfigError, match="class_weight='balanced' counts the clips of each label, which"):
            count_clips(other, 'label', 'class_weight')
    with pytest.raises(ConfigError, match='the clips of each verb'):
        count_clips(several, 'verb', 'class_weight')


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


def balanced(folder):
    cfg = experiment(folder, NAMES)
    cfg.model.head.loss = dict(type='CrossEntropyLoss', class_weight='balanced')
    return cfg


def test_the_runner_counts_before_it_trains(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match='which SyntheticClips does not say: give one number a class'):
        AVRunner.from_cfg(balanced(tmp_path)).train()
    counts = torch.arange(1, len(NAMES) + 1).numpy()
    kind = 'tests.synthetic.SyntheticClips.class_counts'
    monkeypatch.setattr(kind, lambda self: dict(label=counts), raising=False)
    runner = AVRunner.from_cfg(balanced(tmp_path / 'b'))
    runner.train()
    found = runner.plain_model.head.loss_module.weights.of('class_weight')
    clips = len(runner.train_dataloader.dataset)
    assert found.tolist() == pytest.approx([clips / (len(NAMES) * n) for n in counts])
