"""Features as a dataset: what AVDataset knows of clips, and what only stored features have."""

import pytest
import torch

from mmav.config.check import find_problems
from mmav.datasets import RepeatDataset, av_collate
from mmav.datasets.features import FeatureDataset, write_features
from mmav.errors import ConfigError, FeatureError, MediaError, TooManyBrokenClips
from mmav.registry import DATASETS

NUMBER = 8


@pytest.fixture(scope='module')
def features():
    torch.manual_seed(0)
    return dict(video=torch.randn(NUMBER, 4, 1 + 2, 8), audio=torch.randn(NUMBER, 1, 1, 4))


@pytest.fixture(scope='module')
def folder(features, tmp_path_factory):
    folder = tmp_path_factory.mktemp('set')
    write_features(
        folder,
        features,
        dict(label=[k % 2 for k in range(NUMBER)]),
        classes=dict(label=['a', 'b']),
        paths=[f'{k}.mp4' for k in range(NUMBER)],
        absent=dict(audio=[1]),
        broken={3: 'empty'},
        shard_clips=3,
    )
    return str(folder)


def masks_of(item):
    return {name: bool(mask) for name, mask in item['masks'].items()}


def test_an_item(folder, features):
    data = FeatureDataset(folder, test_mode=True, data_root='clips')
    assert len(data) == NUMBER and data.num_classes == 2 and data.metainfo == dict(classes=('a', 'b'))
    item = data[2]
    for modality, tokens in features.items():
        assert torch.equal(item['inputs'][modality], tokens[2])
    sample = item['data_samples']
    assert (sample.path, sample.sample_idx, int(sample.gt_label)) == ('clips/2.mp4', 2, 0)
    assert masks_of(data[1]) == dict(video=True, audio=False)
    assert not data[1]['inputs']['audio'].any()
    batch = av_collate([data[k] for k in range(3)])
    assert batch['inputs']['video'].shape == (3, 4, 3, 8)


def test_broken_clips(folder):
    testing = FeatureDataset(folder, test_mode=True)
    assert testing[3]['data_samples'].broken.startswith('empty (') and 'row 5' in testing[3]['data_samples'].broken
    assert masks_of(testing[3]) == dict(video=False, audio=False)
    training = FeatureDataset(folder, max_broken_share=0.2)
    assert training[3]['data_samples'].broken is None  # another clip
    assert training.broken_count() == 1
    few = FeatureDataset(folder, indices=[3, 0], max_broken_share=0.1)
    few[1]
    with pytest.raises(TooManyBrokenClips, match='1 of the 2 clips seen of .*index.json cannot be read'):
        few[0]


def test_dropout_spares_the_last_modality(folder):
    data = FeatureDataset(folder, modality_dropout=dict(video=1.0))
    assert masks_of(data[0]) == dict(video=False, audio=True)
    assert masks_of(data[1]) == dict(video=True, audio=False)
    dropped = FeatureDataset(folder, drop=['video'], test_mode=True)
    assert masks_of(dropped[0]) == dict(video=False, audio=True)
    assert 'has no audio' in dropped[1]['data_samples'].broken


def test_training_draws_views_anew_in_each_epoch(folder, features):
    data = FeatureDataset(folder, num_views=2, seed=1)
    seen = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        video = data[0]['inputs']['video']
        places = tuple(next(k for k in range(4) if torch.equal(view, features['video'][0, k])) for view in video)
        assert len(set(places)) == 2
        seen.add(places)
        assert torch.equal(data[0]['inputs']['video'], video)  # and the same within an epoch
        assert data[0]['inputs']['audio'].shape == (1, 1, 4)
    assert len(seen) > 2
    repeated = RepeatDataset(dict(type='mmav.FeatureDataset', features=folder, num_views=1, seed=1), 6)
    assert len({float(repeated[k * NUMBER]['inputs']['video'].sum()) for k in range(6)}) > 1


def test_a_manifest_chooses_clips_and_labels(folder, features, tmp_path):
    (tmp_path / 'some.csv').write_text('path,label\n6.mp4,dog\n2.mp4,cat\n')
    data = FeatureDataset(folder, ann_file='some.csv', classes=['cat', 'dog'], data_root=str(tmp_path), test_mode=True)
    assert [int(data[k]['data_samples'].gt_label) for k in range(2)] == [1, 0]
    assert torch.equal(data[0]['inputs']['video'], features['video'][6])
    (tmp_path / 'more.csv').write_text('path,label\n6.mp4,0\nnew.mp4,1\n')
    with pytest.raises(FeatureError, match=r'1 of the 2 clips of .* have no features .*, such as new.mp4 \(row 3\)'):
        FeatureDataset(folder, ann_file='more.csv', classes=['cat', 'dog'], data_root=str(tmp_path))


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(num_views=2, test_mode=True), ConfigError, 'num_views=2 has no effect in testing'),
        (dict(num_views=5), ConfigError, 'num_views=5, but .* holds 4 per clip'),
        (dict(classes=['b', 'a']), FeatureError, 'the classes are not those of the features'),
        (dict(modalities=['text']), ValueError, "modality 'text' is unknown: choose from video, audio"),
    ],
)
def test_what_does_not_fit_is_refused(folder, options, error, message):
    with pytest.raises(error, match=message):
        FeatureDataset(folder, **options)


def test_transforms_are_refused(folder):
    dataset = dict(type='FeatureDataset', features=folder, pipeline=[dict(type='RandomFlip')])
    model = dict(type='AVClassifier', backbones={}, neck=dict(type='Avg'), head=dict(type='ClsHead', num_classes=2))
    cfg = dict(model=model, train_dataloader=dict(dataset=dataset, sampler=dict(type='DefaultSampler')))
    assert any('train_dataloader.dataset.pipeline: unknown' in problem for problem in find_problems(cfg))
    assert DATASETS.get('FeatureDataset') is FeatureDataset


def test_a_spoilt_place_is_named_when_it_is_read(folder):
    data = FeatureDataset(folder, test_mode=True)
    with pytest.raises(MediaError, match='empty'):
        data._load(dict(data.get_data_info(3), rng=None))


def test_any_number_of_labels(features, tmp_path):
    labels = [[k % 2, 1] for k in range(NUMBER - 1)] + [[]]
    paths = [f'{k}.mp4' for k in range(NUMBER)]
    write_features(tmp_path, features, dict(label=labels), classes=dict(label=['a', 'b']), paths=paths)
    data = FeatureDataset(str(tmp_path), test_mode=True)
    assert data.multi_label and data.metainfo == dict(classes=('a', 'b'), multi_label=True)
    assert [data[k]['data_samples'].target().tolist() for k in (0, 1, NUMBER - 1)] == [[1, 1], [0, 1], [0, 0]]
    assert data.store.multi_label and data.store.labels['label'][:2].tolist() == [[1, 1], [0, 1]]
    with pytest.raises(FeatureError, match='multi_label=False are not the labels stored'):
        FeatureDataset(str(tmp_path), multi_label=False)
    manifest = tmp_path / 'other.csv'
    manifest.write_text('path,label\n1.mp4,a\n')
    other = FeatureDataset(str(tmp_path), ann_file=str(manifest), multi_label=False, test_mode=True)
    assert int(other[0]['data_samples'].gt_label) == 0
    manifest.write_text('path,label\n1.mp4,a|b\n')
    assert FeatureDataset(str(tmp_path), ann_file=str(manifest)).get_data_info(0)['label'] == dict(label=(0, 1))
