from mmengine.registry import init_default_scope

from mmav.registry import DATASETS


def test_a_clip_that_comes_again_in_an_epoch_is_augmented_anew(tmp_path, clip):
    """MMEngine's wrapper would give the same picture each time."""
    (tmp_path / 'a.csv').write_text('path,label\n' + f'{clip},cat\n' * 6)
    inner = dict(type='AVDataset', ann_file='a.csv', data_root=str(tmp_path), classes=['cat'], pipeline=[])
    init_default_scope('mmav')
    data = DATASETS.build(dict(type='RepeatDataset', dataset=inner, times=3))
    values = [data[k]['rng'].random() for k in (1, 7, 13)]
    assert len(set(values)) == 3 and values == [data[k]['rng'].random() for k in (1, 7, 13)]
    assert values[0] == data.dataset[1]['rng'].random()
    data.dataset.set_epoch(1)
    assert not {data[k]['rng'].random() for k in (1, 7, 13)} & set(values)


def test_clips_of_a_rare_class_come_again_augmented_anew(tmp_path, clip):
    """MMEngine's wrapper would ask the dataset for what it had not, and give the same picture each time."""
    (tmp_path / 'a.csv').write_text('path,label\n' + f'{clip},cat\n' * 15 + f'{clip},dog\n')
    inner = dict(type='AVDataset', ann_file='a.csv', data_root=str(tmp_path), classes=['cat', 'dog'], pipeline=[])
    init_default_scope('mmav')
    data = DATASETS.build(dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=0.5))
    dogs = [data[k] for k in range(len(data)) if data[k]['label'] == dict(label=1)]
    assert len(data) == 15 + 3 and len({dog['rng'].random() for dog in dogs}) == 3
