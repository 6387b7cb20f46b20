"""Each wrapper around each other: rows, labels, draws, refusals."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmav.datasets import AVDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset, ResumableSampler
from mmav.datasets.av_dataset import Draw
from mmav.datasets.broken_clips import BROKEN
from mmav.datasets.transforms.pack import META_KEYS
from mmav.engine.hooks.seed import datasets_within, methods_within
from mmav.errors import ConfigError
from mmav.registry import DATASETS, TRANSFORMS
from mmav.structures import AVDataSample
from tests import toys

CLASSES = ['cat', 'dog']


@pytest.fixture
def folder(tmp_path, clip):
    """Rows of one clip; the third row of b.csv is broken."""
    (tmp_path / 'a.csv').write_text('path,label\n' + f'{clip},cat\n' * 4 + f'{clip},dog\n')
    (tmp_path / 'b.csv').write_text(f'path,label\n{clip},dog\n{clip},cow\nmissing.mp4,dog\n')
    init_default_scope('mmav')
    return tmp_path


def leaf(folder, name='a', **options):
    classes = CLASSES if name == 'a' else ['dog', 'cow']
    pipeline = [dict(type='LoadClip', num_frames=1, short_side=16)] if name == 'b' else []
    given = dict(ann_file=f'{name}.csv', data_root=str(folder), classes=classes, pipeline=pipeline)
    return dict(type='AVDataset', **given, max_broken_share=0.5) | options


def around(kind, folder, inner=None):
    """A wrapper of a kind around another, or around datasets."""
    if kind == 'ConcatDataset':
        return dict(type=kind, datasets=[inner or leaf(folder), leaf(folder, 'b')], classes='union')
    options = dict(times=3) if kind == 'RepeatDataset' else dict(oversample_thr=0.7)
    return dict(type=kind, dataset=inner or leaf(folder), **options)


KINDS = ('ConcatDataset', 'RepeatDataset', 'ClassBalancedDataset')
NESTED = [
    *((kind,) for kind in KINDS),
    *product(KINDS, KINDS),
    ('RepeatDataset', 'ClassBalancedDataset', 'ConcatDataset'),
]


def build(folder, kinds):
    config = None
    for kind in reversed(kinds):
        config = around(kind, folder, config)
    return DATASETS.build(config)


@pytest.mark.parametrize('kinds', NESTED, ids='-'.join)
def test_a_wrapper_in_each_other(folder, kinds):
    data = build(folder, kinds)
    names = data.metainfo['classes']
    assert names == (('cat', 'dog', 'cow') if 'ConcatDataset' in kinds else ('cat', 'dog'))
    assert data.num_classes == len(names) and data.multi_label is False
    for number in methods_within(data, 'follow_seed'):
        number(7)
    infos = [data.get_data_info(k) for k in range(len(data))]
    assert [data.get_cat_ids(k) for k in range(len(data))] == [[tuple(info['label'].values())] for info in infos]
    # what the rows say, whatever list they were written for
    for info, k in zip(infos, range(len(data)), strict=True):
        where = data.describe(k)
        file, line = where.split('/')[-1].split('.csv, row ')
        row = (folder / f'{file.split("/")[-1]}.csv').read_text().splitlines()[int(line.rstrip(')')) - 1]
        assert names[info['label']['label']] == row.split(',')[1]
    # rows of different lists, and repeats of a row, are drawn differently, and again the same
    whole = [k for k, info in enumerate(infos) if not info['path'].endswith('missing.mp4')]
    values = [data[k]['rng'].random() for k in whole]
    assert len(set(values)) == len(values)
    assert [data[k - len(data)]['rng'].random() for k in whole] == values
    assert len({info['sample_idx'] for info in infos}) == data.num_rows
    for set_epoch in methods_within(data, 'set_epoch'):
        set_epoch(1)
    assert not {data[k]['rng'].random() for k in whole} & set(values)
    # an index that knows its epoch does not depend on the dataset's
    assert [data[Draw.of(k, 0)]['rng'].random() for k in whole] == values
    for index in (len(data), -len(data) - 1):
        with pytest.raises(IndexError, match=f'of {len(data)}'):
            data[index]


def test_a_broken_clip_is_replaced_by_one_of_its_list_and_counted_once(folder):
    data = build(folder, ('RepeatDataset', 'ConcatDataset'))
    broken = [k for k in range(len(data)) if data.get_data_info(k)['path'].endswith('missing.mp4')]
    items = [data[k] for k in broken]
    assert len(broken) == 3 and {item['label']['label'] for item in items} <= {1, 2}  # dog and cow, of b.csv
    assert sum(count() for count in methods_within(data, 'broken_count')) == 1
    (states,) = [part.states for part in datasets_within(data) if hasattr(part, 'states') and len(part) == 3]
    assert states[2] == BROKEN


def test_the_clips_of_two_lists_are_told_apart_in_predictions(folder):
    """Rows of the same place and file name, whose predictions would be taken for one clip's."""
    step = [dict(type='PackAVInputs')]
    read = [dict(type='LoadClip', num_frames=1, short_side=16), dict(type='LogMel', target_frames=20), *step]
    data = DATASETS.build(dict(type='ConcatDataset', datasets=[leaf(folder, test_mode=True, pipeline=read)] * 2))
    assert [data[k]['data_samples'].sample_idx for k in range(len(data))] == list(range(10))
    assert data[7]['data_samples'].gt_label == 0
    # what a clip gives does not depend on what its list is joined with
    alone = DATASETS.build(leaf(folder, test_mode=True))
    joined = DATASETS.build(dict(type='ConcatDataset', datasets=[leaf(folder, test_mode=True)] * 2))
    assert joined[7]['rng'].random() == alone[2]['rng'].random()


def test_datasets_that_are_given_built_are_left_as_they_are(folder):
    one, other = (DATASETS.build(leaf(folder, name)) for name in 'ab')
    joined = ConcatDataset([one, other], classes=['cow', 'dog', 'cat'])
    assert joined.get_data_info(0)['label'] == dict(label=2) and one.get_data_info(0)['label'] == dict(label=0)
    assert one.metainfo['classes'] == ('cat', 'dog') and other.get_data_info(0)['sample_idx'] == 0
    twice = ConcatDataset([joined, one, one], classes='union')
    assert twice.metainfo['classes'] == ('cow', 'dog', 'cat')
    assert [twice.get_data_info(k)['sample_idx'] for k in (0, 8, 13)] == [0, 8, 13]
    assert twice[8]['rng'].random() != twice[13]['rng'].random()
    twice[8]  # one's states are those of its copies
    assert RepeatDataset(one, 2).dataset is one and one.states[0] != 0


def test_class_lists(folder):
    (folder / 'all.txt').write_text('cow\ncat\ndog\n')
    parts = [leaf(folder), leaf(folder, 'b')]
    of_file = DATASETS.build(dict(type='ConcatDataset', datasets=parts, classes='all.txt', data_root=str(folder)))
    assert of_file.metainfo['classes'] == ('cow', 'cat', 'dog') and of_file.get_data_info(6)['label'] == dict(label=0)
    assert of_file.get_data_info(6)['num_classes'] == dict(label=3)
    mapped = dict(type='ConcatDataset', datasets=parts, classes=CLASSES, class_map=[None, dict(cow='cat')])
    assert DATASETS.build(mapped).get_data_info(6)['label'] == dict(label=0)
    with pytest.raises(ConfigError, match=r"only .*a\.csv has 'cat'; only .*b\.csv has 'cow'"):
        DATASETS.build(dict(type='ConcatDataset', datasets=parts))
    with pytest.raises(ConfigError, match=r"class 'cow' of .*b\.csv is not among"):
        DATASETS.build(dict(type='ConcatDataset', datasets=parts, classes=CLASSES))


def test_sets_of_labels_are_joined(folder):
    for name, cell in (('a', 'cat|dog'), ('b', 'dog|cow')):
        (folder / f'{name}.csv').write_text(f'path,label\nx.mp4,{cell}\ny.mp4,\nz.mp4,dog\n')
    parts = [leaf(folder, name, multi_label=True) for name in 'ab']
    data = DATASETS.build(
        dict(type='ConcatDataset', datasets=parts, classes=['cow', 'pet'], class_map=dict(cat='pet', dog='pet'))
    )
    assert [data.get_data_info(k)['label']['label'] for k in range(6)] == [(1,), (), (1,), (0, 1), (), (1,)]
    assert data.multi_label and data.get_cat_ids(3) == [('label', 0), ('label', 1)]
    (folder / 'b.csv').write_text('path,label\nx.mp4,cow\n')
    with pytest.raises(ConfigError, match=r'a\.csv has multi_label=True, .*b\.csv has multi_label=False'):
        DATASETS.build(dict(type='ConcatDataset', datasets=[parts[0], leaf(folder, 'b')], classes='union'))


@pytest.mark.parametrize(
    ('kind', 'options', 'message'),
    [
        ('RepeatDataset', dict(times=0), 'times=0 must be a whole number above 0'),
        ('RepeatDataset', dict(times=1.5), 'times=1.5 must be a whole number above 0'),
        ('ClassBalancedDataset', dict(oversample_thr=0), 'oversample_thr=0 must be a share above 0'),
        ('ClassBalancedDataset', dict(oversample_thr=0.01), 'has no effect: no class is in a smaller share'),
    ],
)
def test_a_wrapper_without_effect_is_refused(folder, kind, options, message):
    with pytest.raises(ConfigError, match=message):
        DATASETS.build(dict(type=kind, dataset=leaf(folder), **options))


def test_what_cannot_be_joined_is_refused(folder):
    for datasets, options, message in (
        ([], {}, 'a list of one or more datasets'),
        (['a.csv'], {}, "'a.csv' is no dataset"),
        ([leaf(folder)], dict(ignore_keys='classes'), "ignore_keys='classes' would take a class"),
        ([leaf(folder), leaf(folder, modalities=['video'])], {}, 'reads video and audio, .* reads video: give all'),
        ([leaf(folder), leaf(folder, test_mode=True)], {}, 'has test_mode=False, .* has test_mode=True'),
        (
            [leaf(folder, test_mode=True), leaf(folder, test_mode=True, labelled=False)],
            {},
            'has labelled=True, .* has labelled=False: give all the same labelled',
        ),
    ):
        with pytest.raises(ConfigError, match=message) as error:
            ConcatDataset(datasets, **options)
        assert '\n' not in str(error.value)


def test_datasets_of_others(folder):
    """Without a class list, manifest or full_init; MMEngine's wrappers ask for the last."""
    data = ConcatDataset([toys.ToyDataset(4), toys.ToyDataset(3)])
    assert len(data) == 7 and torch.equal(data[5]['inputs'], toys.ToyDataset()[1]['inputs'])
    assert len(RepeatDataset(toys.ToyDataset(4), 2)) == 8 and data.multi_label is None
    with pytest.raises(ConfigError, match='classes and class_map are for AVDatasets'):
        ConcatDataset([toys.ToyDataset(4)], classes='union')
    with pytest.raises(ConfigError, match='a ToyDataset does not know the classes of its clips'):
        DATASETS.build(dict(type='ClassBalancedDataset', dataset=dict(type='ToyDataset'), oversample_thr=0.5))
    other = toys.ToyDataset(4)
    other.metainfo = dict(classes=('a', 'b', 'c'), mood='good')
    with pytest.raises(ConfigError, match="metainfo of its datasets differs in 'mood'"):
        ConcatDataset([toys.ToyDataset(4), other])
    assert ConcatDataset([other, toys.ToyDataset(4)], ignore_keys='mood').metainfo['mood'] == 'good'


def test_nothing_is_counted_before_the_first_use(folder):
    data = RepeatDataset(leaf(folder), 2, lazy_init=True)
    assert not data._fully_initialized and len(data) == 10
    assert ConcatDataset([leaf(folder)], lazy_init=True)[4]['label'] == dict(label=1)


@pytest.mark.parametrize('workers', [0, 2])
def test_the_rest_of_an_epoch_is_drawn_as_in_the_whole(folder, workers):
    data = build(folder, ('RepeatDataset', 'ClassBalancedDataset', 'ConcatDataset'))
    for set_epoch in methods_within(data, 'set_epoch'):
        set_epoch(2)
    inner = dict(type='ClassBalancedSampler', num_samples=24)
    samplers = [ResumableSampler(data, inner, seed=1) for _ in range(2)]
    samplers[1].skip = 8
    options = dict(num_workers=workers, collate_fn=_values)
    rounds = [[k for batch in DataLoader(data, 4, sampler=each, **options) for k in batch] for each in samplers]
    assert rounds[1] == rounds[0][8:] and len(rounds[0]) == 24
    # a clip that comes again looks another way
    assert len(set(rounds[0])) > 20


def _values(items):
    return [item['rng'].random() for item in items]


def test_members_of_a_dataset_of_features_keep_their_features(tmp_path):
    from mmav.datasets import FeatureDataset
    from mmav.datasets.features import write_features

    for k, classes in enumerate((['x', 'y'], ['y', 'z'])):
        tokens = torch.arange(3.0).reshape(3, 1, 1, 1) + 10 * k
        write_features(tmp_path / str(k), dict(audio=tokens), dict(label=[0, 1, 1]), classes=dict(label=classes))
    parts = [FeatureDataset(str(tmp_path / str(k))) for k in range(2)]
    data = ConcatDataset(parts, classes='union')
    assert [data[k]['inputs']['audio'].item() for k in range(6)] == [0, 1, 2, 10, 11, 12]
    assert [int(data[k]['data_samples'].gt_label) for k in range(6)] == [0, 1, 1, 1, 2, 2]
    (tmp_path / 'a.csv').write_text('path,label\nx.mp4,x\n')
    files = AVDataset(str(tmp_path / 'a.csv'), [], classes=['x', 'y'], modalities=['audio'])
    with pytest.raises(ConfigError, match='reads files: False, .*reads files: True'):
        ConcatDataset([parts[0], files])


@TRANSFORMS.register_module()
class ToyItem:
    """Stands for a pipeline: a point that depends on the draw, and the label."""

    def __call__(self, results):
        point = torch.from_numpy(results['rng'].normal(size=4)).float() + results['label']['label']
        sample = AVDataSample(metainfo={key: results[key] for key in META_KEYS})
        return dict(inputs=point, data_samples=sample.set_gt_label(results['label']['label']))


CONFIG = """
leaf = dict(type='AVDataset', data_root={folder!r}, max_broken_share=0.5, pipeline=[dict(type='ToyItem')])
one, other = dict(leaf, ann_file='a.csv', classes=['cat', 'dog']), dict(leaf, ann_file='b.csv', classes=['dog', 'cow'])
joined = dict(type='ConcatDataset', datasets=[one, dict(type='RepeatDataset', times=2, dataset=other)], classes='union')
balanced = dict(type='ClassBalancedDataset', oversample_thr=0.5, dataset=joined)
train_dataloader.update(
    dataset=dict(type='RepeatDataset', times=2, dataset=balanced),
    sampler=dict(type={sampler!r}),
    num_workers={workers},
)
val_dataloader['dataset'] = test_dataloader['dataset'] = dict(one, test_mode=True, classes=['cat', 'dog', 'cow'])
train_cfg = dict(max_epochs=2)
custom_hooks = [dict(type='SignalHook', number=15, after_iter={after})]
"""


@pytest.mark.parametrize(('sampler', 'workers'), [('ClassBalancedSampler', 0), ('DefaultSampler', 2)])
def test_training_on_wrappers_goes_on_in_mid_epoch(folder, sampler, workers):
    def train(after, work_dir, *more):
        given = dict(folder=str(folder), sampler=sampler, workers=workers, after=after)
        path = toys.write_config(folder, CONFIG.format(**given))
        assert toys.run_tool('train.py', path, '--work-dir', folder / work_dir, *more) == 0
        return folder / work_dir / 'epoch_2.pth'

    whole = torch.load(train(None, 'whole'), weights_only=True)
    train(13, 'w')
    stopped = torch.load(train(None, 'w', '--resume'), weights_only=True)
    assert whole['meta']['dataset_meta']['classes'] == ('cat', 'dog', 'cow')
    for name, value in whole['state_dict'].items():
        assert torch.equal(value, stopped['state_dict'][name])
    losses = [run['message_hub']['log_scalars']['train/loss']['values'] for run in (whole, stopped)]
    assert torch.equal(*losses) and len(losses[0]) > 13


def test_lists_without_labels_are_joined(folder):
    """Whose clips are told apart in a submission."""
    for name in 'ab':
        (folder / f'{name}.csv').write_text('path\nx.mp4\ny.mp4\n')
    parts = [leaf(folder, name, test_mode=True, labelled=False) for name in 'ab']
    data = DATASETS.build(dict(type='ConcatDataset', datasets=parts, classes='union'))
    rows = [data.get_data_info(k) for k in range(4)]
    assert [row['sample_idx'] for row in rows] == [0, 1, 2, 3] and not any(row['label'] for row in rows)


@pytest.mark.parametrize('kind', ['one', 'several', 'parts'])
def test_repeats_of_rare_classes_are_those_of_mmengines_loop(tmp_path, kind):
    draw = np.random.default_rng(0)
    one = [f'{k}' for k in draw.choice(8, 300, p=np.array([128, 64, 32, 16, 8, 4, 2, 2]) / 256)]
    cells = dict(
        one=one,
        several=['|'.join({*one[k : k + k % 4]}) for k in range(300)],
        parts=[f'{each},{int(each) * k % 3}' for k, each in enumerate(one)],
    )[kind]
    header = 'path,verb,noun' if kind == 'parts' else 'path,label'
    (tmp_path / 'm.csv').write_text('\n'.join([header, *(f'a.mp4,{cell}' for cell in cells)]))
    names = [f'class {k}' for k in range(8)]
    classes = dict(verb=names, noun=names[:3]) if kind == 'parts' else names
    data = AVDataset(str(tmp_path / 'm.csv'), [], classes=classes, multi_label=kind == 'several')
    joined = RepeatDataset(ConcatDataset([data, data]), 2)
    balanced = ClassBalancedDataset(joined, 0.2)
    factors = balanced._get_repeat_factors(joined, 0.2)
    expected = [k for k, factor in enumerate(factors) for _ in range(math.ceil(factor))]
    assert balanced.repeat_indices.tolist() == expected and len(balanced) == len(expected) > len(joined)
