"""Writing features: nothing of a user's is overwritten."""

import pytest
import torch
from safetensors.torch import load_file

from mmav.datasets.features import FeatureStore, write_features
from mmav.datasets.features.writer import shard_tensors, write_shard
from mmav.errors import FeatureError, OutputError


def test_shards_are_plain_safetensors(tmp_path):
    tokens = torch.randn(3, 1, 1 + 2, 4)
    write_features(tmp_path, dict(audio=tokens), dict(label=[0, 0, 0]), classes=dict(label=['a']), shard_clips=2)
    files = [load_file(tmp_path / f'shard-0000{k}.safetensors') for k in range(2)]
    assert torch.equal(torch.cat([file['audio.patches'] for file in files]), tokens[:, :, 1:])
    assert files[1]['audio.cls'].shape == (1, 1, 4)
    assert FeatureStore(tmp_path).stored('audio').grid == (2,)


def test_a_users_file_is_kept(tmp_path):
    path = tmp_path / 'shard-00000.safetensors'
    path.write_bytes(b'mine')
    with pytest.raises(OutputError, match='was not written by'):
        write_shard(path, shard_tensors(dict(audio=torch.zeros(1, 1, 1, 2)), 'float32'))
    assert path.read_bytes() == b'mine'


def test_what_does_not_fit_is_refused(tmp_path):
    tokens = dict(audio=torch.zeros(3, 1, 1, 2))
    with pytest.raises(FeatureError, match='numbers of clips differ: 3 of audio, 2 of label'):
        write_features(tmp_path, tokens, dict(label=[0, 0]), classes=dict(label=['a']))
    with pytest.raises(FeatureError, match="dtype='float61': choose float32 or float16, did you mean 'float16'"):
        write_features(tmp_path, tokens, dict(label=[0, 0, 0]), classes=dict(label=['a']), dtype='float61')
