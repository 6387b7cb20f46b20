"""Class lists and heads that do not go together are refused before the first batch, in one line with both numbers."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from mmav.config.edits import resolve_num_classes
from mmav.engine import AVRunner
from mmav.engine.class_lists import check_class_lists, check_config_lists, note_classes
from mmav.engine.launch import prepare_config
from mmav.errors import CheckpointError, ConfigError, MmavError
from mmav.evaluation import Accuracy, ActionAccuracy, MultiLabelMetric
from mmav.evaluation.clustering import ClusterMetrics
from mmav.registry import MODELS
from tests import synthetic, toys
from tests.engine.test_class_heads import ACTIONS, NAMES, SGD, experiment, write_checkpoint

FOUR = ('cat', 'dog', 'fox', 'owl')


class Clips(Dataset):
    def __init__(self, classes=None):
        if classes is not None:
            self.metainfo = dict(classes=classes)

    def __len__(self):
        return 4


class Wrapper:
    """Of someone's own: it hides what it wraps."""

    def __init__(self, dataset):
        self.dataset = dataset


def loop(dataset, *metrics):
    found = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    if metrics:
        found.evaluator = SimpleNamespace(metrics=metrics, dataset_meta=None)
    return found


def model(number=4, **parts):
    head = dict(type='ClsHead', num_classes=number, in_dims=dict(x=2))
    return nn.ModuleDict(dict(head=MODELS.build(head), **parts))


@pytest.mark.parametrize('wrap', [lambda d: d, Wrapper, lambda d: ConcatDataset([d, d]), lambda d: Wrapper(Wrapper(d))])
@pytest.mark.parametrize('loader', ['train_dataloader', 'val_dataloader', 'test_dataloader'])
def test_head_and_list_of_different_lengths(loader, wrap):
    for number in (3, 16):
        with pytest.raises(ConfigError, match=f'{loader} has 4 names, but head tells {number} apart .*: set it to 4'):
            check_class_lists(model(number), {loader: loop(wrap(Clips(FOUR)))})
    assert check_class_lists(model(), {loader: loop(wrap(Clips(FOUR)))}) == dict(label=FOUR)
    assert check_class_lists(model(), {loader: loop(wrap(Clips()))}) is None


def test_a_class_that_is_named_twice():
    with pytest.raises(ConfigError, match="the class list of val_dataloader names 'cat' twice"):
        check_class_lists(model(), dict(val_dataloader=loop(Clips(('cat', 'dog', 'cat', 'owl')))))


def test_every_head_and_what_mixes_the_clips():
    auxiliary = MODELS.build(dict(type='ClsHead', num_classes=5, in_dims=dict(x=2)))
    with pytest.raises(ConfigError, match='4 names, but auxiliary tells 5 apart'):
        check_class_lists(model(auxiliary=auxiliary), dict(test_dataloader=loop(Clips(FOUR))))
    verbs = nn.ModuleDict(
        dict(head=MODELS.build(dict(type='VerbNounHead', num_verbs=2, num_nouns=3, in_dims=dict(x=2))))
    )
    lists = dict(verb=['cut', 'wash'], noun=['cup', 'pan'])
    with pytest.raises(ConfigError, match=r"2 names, but head.noun tells 3 apart \(nouns: 'cup', 'pan'\)"):
        check_class_lists(verbs, dict(train_dataloader=loop(Clips(lists))))
    with pytest.raises(ConfigError, match='has names of label, but head.verb tells verbs apart'):
        check_class_lists(verbs, dict(train_dataloader=loop(Clips(FOUR))))
    augment = dict(type='MixupCutmix', num_classes=7)
    mixing = model(data_preprocessor=MODELS.build(dict(type='AVDataPreprocessor', batch_augment=augment)))
    with pytest.raises(ConfigError, match='4 names, but data_preprocessor.batch_augment tells 7 apart'):
        check_class_lists(mixing, dict(train_dataloader=loop(Clips(FOUR))))
    check_class_lists(mixing, dict(test_dataloader=loop(Clips(FOUR))))  # nothing is mixed there


@pytest.mark.parametrize(
    ('second', 'told'),
    [
        (FOUR[::-1], "class 0 is 'cat' in train_dataloader and 'owl' in val_dataloader"),
        ((*FOUR[:3], 'hen'), "only train_dataloader has 'owl'; only val_dataloader has 'hen'"),
    ],
)
def test_lists_that_differ_from_each_other(second, told):
    loops = dict(train_dataloader=loop(Clips(FOUR)), val_dataloader=loop(Clips(second)))
    with pytest.raises(ConfigError, match='train_dataloader and val_dataloader have different class lists') as caught:
        check_class_lists(model(), loops)
    assert told in str(caught.value)
    with pytest.raises(ConfigError, match='train_dataloader joins datasets with different class lists'):
        check_class_lists(model(), dict(train_dataloader=loop(ConcatDataset([Clips(FOUR), Clips(second)]))))
    # a model that was trained in this run
    with pytest.raises(ConfigError, match='the run before and test_dataloader have different'):
        check_class_lists(model(), dict(test_dataloader=loop(Clips(second))), dict(label=FOUR))


def test_metrics_that_tell_nothing_or_name_no_class(caplog, capsys):
    check_class_lists(model(), dict(val_dataloader=loop(Clips(FOUR), Accuracy(topk=(1, 5)))))
    assert 'of 4 classes, top-5 is always right' in capsys.readouterr().out + caplog.text
    head = MODELS.build(dict(type='VerbNounHead', num_verbs=2, num_nouns=3, in_dims=dict(x=2)))
    clips, verbs = Clips(dict(verb=['cut', 'wash'], noun=['cup', 'pan', 'tap'])), nn.ModuleDict(dict(head=head))
    for tail in ([0, 2], ['wash']):
        metric = ActionAccuracy(topk=1, tail_verbs=tail)
        with pytest.raises(ConfigError, match=f'tail_verbs has .{tail[-1]}., which is no index of its 2 verbs, 0 to 1'):
            check_class_lists(verbs, dict(val_dataloader=loop(clips, metric)))
    check_class_lists(verbs, dict(val_dataloader=loop(clips, ActionAccuracy(topk=1, tail_verbs=[1], tail_nouns=[2]))))


def test_thresholds_by_name_are_compared_at_the_start(tmp_path):
    (tmp_path / 't.json').write_text('{"classes": {"cat": 0.3, "dog": 0.4, "fox": 0.5}}')
    head = MODELS.build(dict(type='MultiLabelHead', num_classes=4, in_dims=dict(x=2)))
    metric = MultiLabelMetric(str(tmp_path / 't.json'))
    with pytest.raises(MmavError, match="has thresholds of other classes: it has none of 'owl'"):
        check_class_lists(nn.ModuleDict(dict(head=head)), dict(val_dataloader=loop(Clips(FOUR), metric)))


@pytest.mark.parametrize(
    ('metric', 'classes', 'told'),
    [
        (
            Accuracy(),
            dict(verb=['cut'], noun=['cup']),
            'Accuracy of val_dataloader measures labels, .* of verb and noun',
        ),
        (ActionAccuracy(), ['cut'], 'ActionAccuracy of val_dataloader measures verbs, .* names of label'),
        (ClusterMetrics(part='noun'), ['cut'], 'ClusterMetrics of val_dataloader measures nouns'),
    ],
)
def test_metrics_of_labels_that_there_are_not(metric, classes, told):
    with pytest.raises(ConfigError, match=told):
        check_class_lists(nn.Linear(1, 1), dict(val_dataloader=loop(Clips(classes), metric)))


def test_names_behind_a_wrapper_reach_metrics_and_checkpoints():
    hidden = loop(Wrapper(Clips(FOUR)), Accuracy(topk=1))
    names = check_class_lists(model(), dict(test_dataloader=hidden))
    assert hidden.evaluator.dataset_meta == dict(classes=FOUR)
    checkpoint = dict(meta=dict(epoch=1))
    note_classes(checkpoint, names)
    assert checkpoint['meta'] == dict(epoch=1, dataset_meta=dict(classes=FOUR))
    note_classes(checkpoint, dict(label=('other',)))
    assert checkpoint['meta']['dataset_meta'] == dict(classes=FOUR)


def test_a_run_ends_before_its_first_batch(tmp_path):
    for action in ('train', 'test'):
        cfg = experiment(tmp_path / 'a', [*NAMES, 'more'])
        with pytest.raises(ConfigError, match='6 names, but head tells 5 apart'):
            getattr(AVRunner.from_cfg(cfg), action)()
    cfg = synthetic.experiment(8, optimizer=SGD, length=10)
    cfg.update(val_dataloader=cfg['test_dataloader'], val_evaluator=dict(type='Accuracy'), val_cfg=dict())
    cfg['val_dataloader']['dataset']['classes'] = NAMES[::-1]
    cfg.update(work_dir=str(tmp_path / 'b'), experiment_name='lists')
    with pytest.raises(ConfigError, match="'class 0' in train_dataloader and 'class 4' in val_dataloader"):
        AVRunner.from_cfg(Config(cfg)).train()


def config(folder, head=4, **lists):
    """A config whose loaders have lists of their own, as files or names."""
    cfg = dict(model=dict(head=dict(num_classes=head)))
    for name, classes in lists.items():
        cfg[f'{name}_dataloader'] = dict(dataset=dict(ann_file='a.csv', data_root=str(folder), classes=classes))
    return Config(cfg)


def test_a_config_is_compared_before_anything_is_built(tmp_path, capsys, caplog):
    every = ['train_dataloader', 'val_dataloader', 'test_dataloader']
    (tmp_path / 'classes.txt').write_text('\n'.join(FOUR))
    for name in ('train', 'val', 'test'):
        with pytest.raises(
            ConfigError, match=f'of {name}_dataloader has 4 names, but model.head.num_classes tells 3 apart'
        ):
            check_config_lists(config(tmp_path, 3, **{name: 'classes.txt'}), every)
    check_config_lists(config(tmp_path, 3, train='gone.txt'), every)  # told when it is read
    wrapped = config(tmp_path, 4, train='classes.txt')
    inner = wrapped.train_dataloader.dataset
    wrapped.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    check_config_lists(wrapped, every)
    other = dict(inner, classes=FOUR[::-1])
    wrapped.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[inner, other])
    with pytest.raises(ConfigError, match='train_dataloader: joined datasets have different class lists'):
        check_config_lists(wrapped, every)
    with pytest.raises(ConfigError, match='train_dataloader and val_dataloader have different class lists'):
        check_config_lists(config(tmp_path, train=FOUR, val=FOUR[::-1]), every)
    check_config_lists(config(tmp_path, train=FOUR, test=FOUR[::-1]), every)  # testing puts them in order
    assert 'cannot be tested' not in capsys.readouterr().out + caplog.text
    check_config_lists(config(tmp_path, train=FOUR, test=(*FOUR[:3], 'hen')), every)
    assert 'cannot be tested with this test_dataloader' in capsys.readouterr().out + caplog.text
    with pytest.raises(CheckpointError, match="'c.pth' was trained with other classes"):
        check_config_lists(config(tmp_path, 3, test=FOUR), ['test_dataloader'], dict(label=FOUR[:3]), source='c.pth')


def arguments(config, checkpoint=None, data_root=None):
    options = dict(work_dir=None, cfg_options={}, launcher='none', drop=None)
    given = {} if checkpoint is None else dict(checkpoint=str(checkpoint))
    return SimpleNamespace(config=str(config), data_root=data_root, **options, **given)


def test_another_folder_for_a_config_with_a_fixed_head(tmp_path):
    (tmp_path / 'classes.txt').write_text('\n'.join(FOUR))
    for name in ('mmt/mmt_tiny_avsynth', 'mat/mat_base_vggsound'):
        number = 16 if 'avsynth' in name else 309
        with pytest.raises(ConfigError, match=f'train_dataloader has 4 names, but .*num_classes tells {number} apart'):
            prepare_config(arguments(toys.ROOT / f'configs/{name}.py', data_root=str(tmp_path)))
    for name, number in (('verbs', 97), ('nouns', 299)):
        (tmp_path / f'{name}.txt').write_text('\n'.join(map(str, range(number))))
    with pytest.raises(ConfigError, match='has 299 names, but .*noun tells 300 apart'):
        prepare_config(arguments(toys.ROOT / 'configs/mat/mat_base_epic_kitchens.py', data_root=str(tmp_path)))


def test_the_names_in_a_checkpoint_decide_an_automatic_number(tmp_path):
    """The training's list need not be there, and a test list of another length is told by names."""
    write_checkpoint(tmp_path / 'c.pth', experiment(tmp_path / 'w', NAMES), NAMES)
    path = toys.ROOT / 'configs/mmt/mmt_tiny_folder.py'
    made = prepare_config(arguments(path, tmp_path / 'c.pth', str(tmp_path)), loaders=['test_dataloader'])
    assert made.model.head.num_classes == len(NAMES)
    # without names it is the list that is tested with; that of the training may be elsewhere
    cfg = Config(
        dict(model=dict(head=dict(num_classes='auto')), train_dataloader=dict(dataset=dict(classes='gone.txt')))
    )
    cfg.test_dataloader = dict(dataset=dict(classes=FOUR))
    resolve_num_classes(cfg, loaders=['test_dataloader'])
    assert cfg.model.head.num_classes == 4
    (tmp_path / 'classes.txt').write_text('\n'.join(NAMES[:3]))
    with pytest.raises(CheckpointError, match="5 classes, test_dataloader 3; only the checkpoint has 'class 3'"):
        prepare_config(arguments(path, tmp_path / 'c.pth', str(tmp_path)), loaders=['test_dataloader'])


def test_actions(tmp_path):
    """The lists of verbs and nouns that fit pass."""
    runner = AVRunner.from_cfg(experiment(tmp_path / 'w', ACTIONS, actions=True))
    runner.train()
    assert runner.iter == 1


def test_joined_lists_count_as_the_list_of_the_whole():
    """What is joined by name has lists of its own, which are not compared."""
    parts = [dict(ann_file='a.csv', classes=list(names)) for names in (('cat', 'dog'), ('fox', 'owl'))]
    joined = dict(type='ConcatDataset', datasets=parts)
    cfg = experiment_of(dict(type='RepeatDataset', times=2, dataset=dict(joined, classes='union')))
    check_config_lists(cfg, ['train_dataloader'])
    cfg.model.head.num_classes = 3
    with pytest.raises(ConfigError, match='train_dataloader has 4 names'):
        check_config_lists(cfg, ['train_dataloader'])
    with pytest.raises(ConfigError, match=r"train_dataloader: .*only a\.csv \(0\) has 'cat', 'dog'.*classes='union'"):
        check_config_lists(experiment_of(joined), ['train_dataloader'])
    with pytest.raises(ConfigError, match=r"class 'fox' of a\.csv \(1\) is not among"):
        check_config_lists(experiment_of(dict(joined, classes=['cat', 'dog', 'owl'])), ['train_dataloader'])


def experiment_of(dataset):
    head = dict(type='ClsHead', num_classes=4)
    return Config(dict(model=dict(type='AVClassifier', head=head), train_dataloader=dict(dataset=dataset)))
