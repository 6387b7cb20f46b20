"""A folder of features: what was written comes back, lazily, and what cannot be right is refused."""

import pickle

import numpy as np
import pytest
import torch

from mmav.datasets.features import FeatureStore, write_features
from mmav.errors import FeatureError


@pytest.fixture
def features():
    torch.manual_seed(0)
    # 5 clips in shards of 2; video with 2 views and 6 tokens, audio with class embeddings alone
    return dict(video=torch.randn(5, 2, 1 + 6, 8), audio=torch.randn(5, 1, 1, 4))


@pytest.fixture
def folder(features, tmp_path):
    write_features(
        tmp_path / 'set',
        features,
        dict(label=[0, 1, 2, 0, 1]),
        classes=dict(label=['a', 'b', 'c']),
        grids=dict(video=(1, 2, 3), audio=(0,)),
        paths=[f'{k}.mp4' for k in range(5)],
        absent=dict(audio=[1]),
        broken={3: 'empty'},
        shard_clips=2,
    )
    return tmp_path / 'set'


def test_what_was_written_is_read(folder, features):
    store = FeatureStore(folder)
    assert len(store) == 5
    assert store.paths == [f'{k}.mp4' for k in range(5)]
    assert store.labels['label'].tolist() == [0, 1, 2, 0, 1]
    assert store.classes == dict(label=('a', 'b', 'c'))
    assert store.modalities == ('video', 'audio')
    assert store.present('audio').tolist() == [True, False, True, False, True]
    assert store.present('video').tolist() == [True, True, True, False, True]
    for modality, tokens in features.items():
        embeddings = store.embeddings(modality)
        assert embeddings.dtype == np.float32
        assert np.array_equal(embeddings, tokens[:, :, 0].numpy())
        for place in range(5):
            assert torch.equal(store.tokens(place, modality), tokens[place])
    assert store.stored('video').grid == (1, 2, 3)


def test_a_copy_for_a_worker_maps_the_files_by_itself(folder, features):
    store = FeatureStore(folder)
    store.tokens(0, 'video')
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again.tokens(4, 'video'), features['video'][4])


def test_half_precision_is_rounded_and_comes_back_as_float32(features, tmp_path):
    write_features(tmp_path, features, dict(label=[0] * 5), classes=dict(label=['a']), dtype='float16')
    tokens = FeatureStore(tmp_path).tokens(2, 'video')
    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, features['video'][2].half().float())


@pytest.mark.parametrize('change', ['missing', 'torn'])
def test_a_lost_shard_is_named(folder, change):
    shard = folder / 'shard-00001.safetensors'
    if change == 'missing':
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(FeatureError, match=r"shard-00001.safetensors' (is missing|has [0-9,]+ bytes).*: repeat"):
        FeatureStore(folder)


def test_a_damaged_shard_is_named(folder):
    shard = folder / 'shard-00001.safetensors'
    content = bytearray(shard.read_bytes())
    content[8:40] = b'x' * 32
    shard.write_bytes(content)
    store = FeatureStore(folder)
    with pytest.raises(FeatureError, match="shard-00001.safetensors' is damaged"):
        store.embeddings('video')


def test_an_unknown_modality_is_refused(folder):
    with pytest.raises(FeatureError, match="no features of 'vidoe', only of video, audio, did you mean 'video'"):
        FeatureStore(folder).embeddings('vidoe')
