"""One label a clip, or any number: what does not go together is refused in one line, before the first batch."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmav.engine.class_heads import match_classes
from mmav.engine.class_lists import check_class_lists, check_config_lists, note_classes
from mmav.engine.label_kinds import check_config_kinds, check_kinds, checkpoint_kind, head_kind
from mmav.errors import CheckpointError, ConfigError
from mmav.evaluation import Accuracy
from mmav.registry import MODELS

NAMES = ('cat', 'dog')
LOADERS = ('train_dataloader', 'val_dataloader')


def model(kind):
    head = MODELS.build(dict(type=kind, num_classes=2, in_dims=dict(x=2)))
    return nn.ModuleDict(dict(head=head))


class Named(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.head = model(kind)['head']


def loop(*kinds, wrap=False, metrics=()):
    parts = [SimpleNamespace(metainfo=dict(classes=NAMES), multi_label=kind) for kind in kinds]
    dataset = SimpleNamespace(datasets=parts) if wrap else parts[0]
    evaluator = SimpleNamespace(metrics=metrics, dataset_meta=None)
    return SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset), evaluator=evaluator)


def config(head, dataset=None, wrapper=None, **more):
    dataset = dict(type='AVDataset', ann_file='missing.csv', pipeline=[], **(dataset or {}))
    for kind in wrapper or ():
        dataset = dict(type=kind, **(dict(datasets=[dataset]) if kind == 'ConcatDataset' else dict(dataset=dataset)))
    return Config(dict(model=dict(head=dict(type=head, num_classes=2)), train_dataloader=dict(dataset=dataset), **more))


@pytest.mark.parametrize(
    ('head', 'kind', 'message'),
    [
        ('ClsHead', True, r"any number .* but model.head \(ClsHead\) is for one .* head=dict\(type='MultiLabelHead'"),
        ('MultiLabelHead', False, r'has one label .* is for any number .*: give the dataset multi_label=True'),
        ('VerbNounHead', True, r'model.head \(VerbNounHead\) is for one label a clip'),
    ],
)
def test_head_and_dataset_of_different_kinds(head, kind, message):
    for wrapper in ((), ('RepeatDataset',), ('RepeatDataset', 'ConcatDataset')):
        with pytest.raises(ConfigError, match=message):
            check_config_lists(config(head, dict(multi_label=kind), wrapper), LOADERS)
        check_config_kinds(config(head, dict(multi_label=not kind), wrapper), LOADERS)
    if head != 'VerbNounHead':
        for joined in (loop(kind), loop(not kind, kind, wrap=True)):
            with pytest.raises(ConfigError, match=message):
                check_class_lists(Named(head), dict(val_dataloader=joined))
        check_class_lists(Named(head), dict(val_dataloader=loop(not kind, not kind, wrap=True)))


def test_the_default_of_a_dataset():
    with pytest.raises(ConfigError, match='train_dataloader.dataset has one label a clip'):
        check_config_kinds(config('MultiLabelHead'), LOADERS)
    check_config_kinds(config('ClsHead'), LOADERS)
    features = dict(type='FeatureDataset', features='missing')  # what is stored decides
    check_config_kinds(Config(dict(config('ClsHead'), train_dataloader=dict(dataset=features))), LOADERS)
    check_config_kinds(config('ToyHead'), LOADERS)  # someone's own, which does not say


def test_metrics_of_the_other_kind(monkeypatch):
    monkeypatch.setattr(Accuracy, 'multi_label', False, raising=False)
    cfg = config('MultiLabelHead', dict(multi_label=True), train_evaluator=[dict(type='Accuracy')])
    with pytest.raises(ConfigError, match='train_evaluator: Accuracy is for one label .* measure MultiLabelMetric'):
        check_config_kinds(cfg, LOADERS)
    with pytest.raises(ConfigError, match='val_dataloader: Accuracy is for one label a clip'):
        check_kinds(Named('MultiLabelHead'), dict(val_dataloader=loop(True, metrics=[Accuracy()])))
    check_kinds(Named('ClsHead'), dict(val_dataloader=loop(False, metrics=[Accuracy()])))


@pytest.mark.parametrize(('kind', 'other'), [('ClsHead', 'MultiLabelHead'), ('MultiLabelHead', 'ClsHead')])
def test_checkpoints_of_the_other_kind(kind, other):
    trained = Named(kind)
    assert head_kind(trained) is (kind == 'MultiLabelHead') and head_kind(nn.Linear(2, 2)) is None
    checkpoint = dict(state_dict=trained.state_dict(), meta={})
    note_classes(checkpoint, dict(label=NAMES), trained)
    assert checkpoint_kind(checkpoint) is (kind == 'MultiLabelHead')
    # MMEngine compares it with the dataset's when it resumes, and warns
    assert checkpoint['meta']['dataset_meta'] == dict(classes=NAMES)
    options = dict(given=dict(label=NAMES), source='a.pth', who='the list')
    for purpose in ('test', 'infer', 'resume'):
        with pytest.raises(CheckpointError, match=f"'a.pth' was trained with .*, the model has a {other}, .*load_from"):
            match_classes(checkpoint, Named(other), purpose=purpose, **options)
        match_classes(checkpoint, Named(kind), purpose=purpose, **options)
    weights = match_classes(checkpoint, Named(other), purpose='begin', **options)  # to be trained further
    assert torch.equal(weights['head.fcs.x.weight'], trained.head.fcs['x'].weight)
    match_classes(dict(state_dict=trained.state_dict()), Named(other), purpose='test', **options)  # nothing is known


def test_weights_of_pairs_of_one_label():
    contrast = dict(losses=[dict(type='AVCLoss', pair_weight='shared')])
    for head, several in (('ClsHead', False), ('MultiLabelHead', True)):
        cfg = config(head, dict(multi_label=several))
        cfg.model.contrast = contrast
        if several:
            check_config_kinds(cfg, LOADERS)
        else:
            with pytest.raises(ConfigError, match="model.contrast: pair_weight='shared' of AVCLoss has no effect"):
                check_config_kinds(cfg, LOADERS)
