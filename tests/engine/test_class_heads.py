"""Checkpoints of one class list in models that work with another: in testing, fine-tuning, resuming."""

import itertools

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmav.engine import AVRunner
from mmav.engine.class_heads import class_heads, class_rows, match_classes, tell_other_number, widths_in_config
from mmav.engine.loading import load_weights
from mmav.errors import CheckpointError
from mmav.evaluation.predictions import load_predictions
from mmav.registry import MODELS
from mmav.structures import as_parts
from tests import synthetic

NAMES = [f'class {i}' for i in range(synthetic.CLASSES)]
ACTIONS = dict(verb=NAMES[: synthetic.VERBS], noun=NAMES[: synthetic.NOUNS])
RUNS = itertools.count()  # MMEngine's global state is kept by name
SGD = dict(type='SGD', lr=0.0)


def backwards(classes):
    return {part: names[::-1] for part, names in classes.items()} if isinstance(classes, dict) else classes[::-1]


def experiment(folder, classes, *, actions=False, neck=None, **train):
    cfg = synthetic.experiment(8, optimizer=SGD, actions=actions, length=10, classes=classes)
    cfg['train_dataloader']['dataset'].update(length=8, actions=actions, classes=classes, **train)
    cfg['train_cfg']['max_epochs'] = 1
    cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=1)
    if neck:
        cfg['model']['neck'] = neck
    cfg.update(work_dir=str(folder), experiment_name=f'class_heads_{next(RUNS)}')
    return Config(cfg)


def write_checkpoint(path, cfg, classes, seed=0, prefix=''):
    """With a head that tells clips apart."""
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    for weight in model.head.parameters():
        nn.init.normal_(weight)
    state = {prefix + name: value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=classes))), path)
    return model.state_dict()


def run_test(folder, cfg, checkpoint):
    cfg.load_from = str(checkpoint)
    cfg.test_evaluator.append(dict(type='DumpPredictions', out_file=str(folder / 'p.pkl')))
    metrics = AVRunner.from_cfg(cfg).test()
    return metrics, *load_predictions(folder / 'p.pkl')


def by_name(row, classes):
    return {part: dict(zip(classes[part], row['scores'][part].tolist(), strict=True)) for part in classes}


@pytest.mark.parametrize('neck', [None, dict(type='Avg')], ids=['one_stream', 'streams_of_avg'])
@pytest.mark.parametrize('classes', [NAMES, ACTIONS], ids=['label', 'verb_noun'])
def test_the_same_names_in_another_order_give_the_same_results(tmp_path, classes, neck, capfd):
    options = dict(actions=classes is ACTIONS, neck=neck)
    write_checkpoint(tmp_path / 'c.pth', experiment(tmp_path / 'c', classes, **options), classes, prefix='module.')
    results = []
    for name, order in (('a', classes), ('b', backwards(classes))):
        results.append(run_test(tmp_path, experiment(tmp_path / name, order, **options), tmp_path / 'c.pth'))
        told = f"{tmp_path / 'c.pth'}' has the classes in another order" in capfd.readouterr().out
        assert told is (name == 'b')
    (metrics, rows, names), (metrics_back, rows_back, names_back) = results
    assert metrics == metrics_back and names == as_parts(classes) and names_back == as_parts(backwards(classes))
    for row, back in zip(rows, rows_back, strict=True):
        one, other = by_name(row, names), by_name(back, names_back)
        for part in one:
            assert one[part] == pytest.approx(other[part], abs=1e-6)
        assert row['label'] != back['label'] or classes is ACTIONS or row['label'] == dict(label=len(NAMES) // 2)


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (NAMES[:-1], "the checkpoint has 5 classes, test_dataloader 4; only the checkpoint has 'class 4'"),
        ([*NAMES, 'more'], "the checkpoint has 5 classes, test_dataloader 6; only test_dataloader has 'more'"),
        ([*NAMES[:-1], 'other'], "only the checkpoint has 'class 4'; only test_dataloader has 'other'"),
    ],
    ids=['subset', 'superset', 'other'],
)
def test_other_names_are_refused_in_testing(tmp_path, given, message):
    cfg = experiment(tmp_path / 'w', given)
    cfg.model.head.num_classes = len(given)
    write_checkpoint(tmp_path / 'c.pth', experiment(tmp_path / 'c', NAMES), NAMES)
    with pytest.raises(CheckpointError, match='was trained with other classes') as caught:
        run_test(tmp_path, cfg, tmp_path / 'c.pth')
    assert message in str(caught.value)


def test_other_verbs_are_refused_in_testing(tmp_path):
    write_checkpoint(tmp_path / 'c.pth', experiment(tmp_path / 'c', ACTIONS, actions=True), ACTIONS)
    given = {**ACTIONS, 'noun': [*ACTIONS['noun'][:-1], 'pan']}
    with pytest.raises(CheckpointError, match="only the checkpoint has 'class 2'; only test_dataloader has 'pan'"):
        run_test(tmp_path, experiment(tmp_path / 'w', given, actions=True), tmp_path / 'c.pth')


def test_a_checkpoint_without_names_is_tested_as_it_is(tmp_path):
    cfg = experiment(tmp_path / 'w', NAMES[::-1])
    write_checkpoint(tmp_path / 'c.pth', cfg, None)
    assert run_test(tmp_path, cfg, tmp_path / 'c.pth')[2] == dict(label=NAMES[::-1])


@pytest.mark.parametrize(
    ('given', 'rows', 'told'),
    [
        (NAMES[::-1], [4, 3, 2, 1, 0], "its head's rows are put in order"),
        (['class 3', 'x', 'class 0'], [3, None, 0], "the head keeps the rows of 2 shared names ('class 3', 'class 0')"),
        (['a', 'b', 'c', 'd', 'e'], [None] * 5, 'the head is initialised'),
    ],
    ids=['reordered', 'some', 'none'],
)
def test_training_begins_with_the_rows_of_its_names(tmp_path, given, rows, told, capfd):
    cfg = experiment(tmp_path / 'w', given)
    cfg.model.head.num_classes = len(given)
    cfg.load_from = str(tmp_path / 'c.pth')
    cfg.custom_hooks = [dict(type='EMAHook')]
    old = write_checkpoint(tmp_path / 'c.pth', experiment(tmp_path / 'c', NAMES), NAMES)
    AVRunner.from_cfg(cfg).train()
    assert told in capfd.readouterr().out
    saved = torch.load(tmp_path / 'w' / 'epoch_1.pth', weights_only=True)
    assert list(saved['meta']['dataset_meta']['classes']) == given
    trained = {name.removeprefix('module.'): value for name, value in saved['ema_state_dict'].items()}
    for state in (saved['state_dict'], trained):
        for name in ('head.fcs.fused.weight', 'head.fcs.fused.bias'):
            for place, row in enumerate(rows):
                assert any(torch.equal(state[name][place], value) for value in old[name]) is (row is not None)
                assert row is None or torch.equal(state[name][place], old[name][row])
        assert torch.equal(state['backbones.video.blocks.0.norm1.weight'], old['backbones.video.blocks.0.norm1.weight'])


def test_training_is_resumed_with_the_same_list_only(tmp_path):
    AVRunner.from_cfg(experiment(tmp_path / 'a', NAMES)).train()
    for given, message in (
        (NAMES[::-1], "class 0 is 'class 0' in the checkpoint and 'class 4' in train_dataloader"),
        ([*NAMES[:-1], 'x'], "only the checkpoint has 'class 4'"),
    ):
        cfg = experiment(tmp_path / 'b', given)
        cfg.resume = str(tmp_path / 'a' / 'epoch_1.pth')
        with pytest.raises(CheckpointError, match='cannot be resumed with another class list') as caught:
            AVRunner.from_cfg(cfg).train()
        assert message in str(caught.value) and 'load_from=' in str(caught.value)
    cfg = experiment(tmp_path / 'c', NAMES)
    cfg.update(resume=str(tmp_path / 'a' / 'epoch_1.pth'))
    cfg.train_cfg.max_epochs = 2
    runner = AVRunner.from_cfg(cfg)
    runner.train()
    assert runner.epoch == 2


class Model(nn.Module):
    """A head of someone's own, and a head beside it."""

    def __init__(self, *layers, beside=False):
        super().__init__()
        self.head = nn.Sequential(*layers)
        self.head.num_classes = 3
        if beside:
            self.auxiliary = MODELS.build(dict(type='ClsHead', num_classes=3, in_dims=dict(x=3)))


def match(model, trained, given, purpose='test'):
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=trained)))
    return match_classes(checkpoint, model, dict(label=given), source='c.pth', who='the list', purpose=purpose)


def test_heads_of_other_kinds_and_places():
    model = Model(nn.Linear(4, 3), beside=True)
    weights = match(model, ['a', 'b', 'c'], ('c', 'a', 'b'))
    for name in ('head.0.weight', 'head.0.bias', 'auxiliary.fcs.x.weight'):
        assert torch.equal(weights[name], model.state_dict()[name][[2, 0, 1]])
    # a hidden layer as wide as there are classes: whose rows are they?
    deep = Model(nn.Linear(4, 3), nn.Linear(3, 3))
    with pytest.raises(CheckpointError, match='which weights of head belong to a class is not known'):
        match(deep, ['a', 'b', 'c'], ('c', 'a', 'b'))
    assert class_rows(deep.state_dict(), 'head.', 3) is None
    # training begins it anew: the weights are the model's own
    other = Model(nn.Linear(4, 3), nn.Linear(3, 3))
    checkpoint = dict(state_dict=deep.state_dict(), meta=dict(dataset_meta=dict(classes=['a', 'b', 'c'])))
    given = dict(label=('c', 'a', 'b'))
    weights = match_classes(checkpoint, other, given, source='c.pth', who='the list', purpose='begin')
    assert all(torch.equal(weights[name], value) for name, value in other.state_dict().items())


@pytest.mark.parametrize('purpose', ['test', 'begin'])
def test_a_checkpoint_without_the_heads_of_training(purpose):
    model = Model(nn.Linear(4, 3))
    checkpoint = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=['a', 'b', 'c'])))
    heads = MODELS.build(dict(type='UnimodalHeads', in_dims=dict(x=3), head=dict(type='ClsHead', num_classes=3)))
    model.auxiliary = nn.ModuleDict(dict(alone=heads))
    given = dict(label=('c', 'a', 'b'))
    weights = match_classes(checkpoint, model, given, source='c.pth', who='the list', purpose=purpose)
    assert torch.equal(weights['head.0.weight'], model.state_dict()['head.0.weight'][[2, 0, 1]])
    heads.in_testing = True  # then testing needs them
    if purpose == 'test':
        with pytest.raises(CheckpointError, match='which weights of auxiliary.alone.heads.x belong to a class is not'):
            match_classes(checkpoint, model, given, source='c.pth', who='the list', purpose=purpose)


def test_a_model_without_a_head(capsys):
    model = nn.Linear(2, 3)
    with pytest.raises(CheckpointError, match='which weights of Linear'):
        match(model, ['a', 'b', 'c'], ('c', 'a', 'b'))
    weights = match(model, ['a', 'b', 'c'], ('c', 'a', 'b'), purpose='begin')
    assert torch.equal(weights['weight'], model.weight)


def test_weights_of_another_number_of_classes_are_told_by_both_numbers():
    three, five = (MODELS.build(dict(type='ClsHead', num_classes=n, in_dims=dict(x=2))) for n in (3, 5))
    models = nn.ModuleDict(dict(head=three)), nn.ModuleDict(dict(head=five))
    assert tell_other_number(models[0].state_dict(), models[0]) == ''
    with pytest.raises(CheckpointError, match='it tells 3 classes apart, head of this config 5'):
        load_weights(models[1], models[0].state_dict(), 'c.pth')


def test_widths_in_a_config_and_in_a_model(tmp_path):
    cfg = experiment(tmp_path, ACTIONS, actions=True).model
    cfg.data_preprocessor = dict(
        type='AVDataPreprocessor', batch_augment=dict(type='MixupCutmix', num_classes=dict(verb=2, noun=7))
    )
    cfg.backbones.video.num_classes = 1000  # such as timm's models have
    assert [tuple(width) for width in widths_in_config(cfg)] == [
        ('model.head.num_verbs', 'verb', 2),
        ('model.head.num_nouns', 'noun', 3),
        ('model.data_preprocessor.batch_augment.num_classes.verb', 'verb', 2),
        ('model.data_preprocessor.batch_augment.num_classes.noun', 'noun', 7),
    ]
    del cfg.backbones.video['num_classes']
    assert [tuple(width) for width in class_heads(MODELS.build(cfg))] == [
        ('head.verb', 'verb', 2),
        ('head.noun', 'noun', 3),
    ]
