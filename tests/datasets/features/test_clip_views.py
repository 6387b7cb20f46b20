"""All the views of a clip of which features are stored."""

import pytest
import torch

from mmav.datasets import AVDataset
from mmav.datasets.features.clip_views import ClipViews, spread_windows
from mmav.errors import ConfigError

LOAD = dict(type='LoadClip', num_frames=2, short_side=16)
REST = [
    dict(type='CenterCrop', size=16),
    dict(type='LogMel', num_mel_bins=16, target_frames=20),
    dict(type='PackAVInputs'),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, flashes, silent, broken):
    folder = tmp_path_factory.mktemp('views')
    for name, path in {'long.mp4': flashes, 'silent.mp4': silent, 'torn.mp4': broken['text']}.items():
        (folder / name).symlink_to(path)
    (folder / 'list.csv').write_text(
        'path,label,start,end\nlong.mp4,0,,\nsilent.mp4,1,,\ntorn.mp4,0,,\nlong.mp4,0,1,2.5'
    )
    return folder


def dataset(folder, *, mode='uniform', flip=False, **options):
    pipeline = [dict(LOAD, mode=mode), *[dict(type='RandomFlip')] * flip, *REST]
    return AVDataset('list.csv', pipeline, data_root=str(folder), classes=['a', 'b'], **{'test_mode': True, **options})


def test_windows_are_read_at_their_places(folder):
    data = dataset(folder)
    item = ClipViews(data, windows=3, window=1.0)[0]
    assert item['inputs']['video'].shape == (3, 3, 2, 16, 16)
    assert item['inputs']['audio'].shape == (3, 1, 16, 20)
    for view, (start, end) in enumerate([(0.0, 1.0), (1.5, 2.5), (3.0, 4.0)]):
        # a manifest of the window alone
        info = dict(data.get_data_info(0), start=start, end=end, rng=None)
        alone = data.pipeline(info)
        for modality in ('video', 'audio'):
            assert torch.equal(item['inputs'][modality][view], alone['inputs'][modality][0])
    assert (item['data_samples'].start, item['data_samples'].end) == (0.0, pytest.approx(4.0, abs=0.1))
    inside = ClipViews(data, windows=2, window=1.0)[3]['data_samples']
    assert (inside.start, inside.end) == (1.0, 2.5)


def test_spread():
    assert spread_windows(2.0, 5.0, 2, 1.0) == [(2.0, 3.0), (4.0, 5.0)]
    assert spread_windows(0.0, 0.5, 2, 1.0) == [(0.0, 0.5), (0.0, 0.5)]  # a short clip, whole


def test_a_clip_without_audio_lacks_it_in_all_windows(folder):
    item = ClipViews(dataset(folder), windows=2, window=0.5)[1]
    assert {name: bool(mask) for name, mask in item['masks'].items()} == dict(video=True, audio=False)


def test_a_broken_clip_says_why(folder):
    data = dataset(folder)
    item = ClipViews(data, windows=2, window=1.0)[2]
    assert item['data_samples'].broken.endswith('list.csv, row 4)')
    assert item['inputs']['video'].shape == (2, 3, 2, 16, 16)
    assert not any(item['masks'].values())
    assert data.broken_count() == 1


def test_a_window_that_cannot_be_read_is_replaced_by_the_nearest(folder, monkeypatch):
    views = ClipViews(dataset(folder), windows=3, window=1.0)
    spans = views._spans
    monkeypatch.setattr(views, '_spans', lambda info: [*spans(info)[:2], (90.0, 91.0)])
    item = views[0]
    assert item['data_samples'].broken is None
    assert torch.equal(item['inputs']['video'][2], item['inputs']['video'][1])
    assert not torch.equal(item['inputs']['video'][1], item['inputs']['video'][0])


def test_augmented_views_are_those_of_the_first_epochs(folder):
    views = ClipViews(dataset(folder, mode='random', flip=True, seed=5), augment=2)[0]
    training = dataset(folder, mode='random', flip=True, seed=5, test_mode=False)
    for epoch in range(2):
        training.set_epoch(epoch)
        for modality in ('video', 'audio'):
            assert torch.equal(views['inputs'][modality][epoch], training[0]['inputs'][modality][0])


def test_numbers_that_make_no_sense_are_refused(folder):
    with pytest.raises(ConfigError, match='augment=0: give a number from 1'):
        ClipViews(dataset(folder), augment=0)
    with pytest.raises(ConfigError, match='windows=2: how long a window is, is not known'):
        ClipViews(dataset(folder), windows=2)
