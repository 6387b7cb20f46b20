"""Features made elsewhere, in the shapes that people store them in."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmav.datasets.features.files import as_tokens, read_array
from mmav.errors import FeatureError


@pytest.mark.parametrize(('shape', 'views'), [((4,), (1, 1, 4)), ((3, 4), (1, 3, 4)), ((2, 3, 4), (2, 3, 4))])
def test_shapes(shape, views, tmp_path):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    np.save(tmp_path / 'a.npy', values)
    save_file(dict(it=torch.from_numpy(values)), tmp_path / 'a.safetensors')
    for name in ('a.npy', 'a.safetensors'):
        read = read_array(tmp_path / name, 'audio')
        assert read.dtype == torch.float32 and read.shape == views
        assert np.array_equal(read.numpy().reshape(shape), values.astype(np.float32))


def test_a_tensor_is_chosen_by_its_modality(tmp_path):
    save_file(dict(audio=torch.ones(2), video=torch.zeros(2)), tmp_path / 'a.safetensors')
    assert read_array(tmp_path / 'a.safetensors', 'audio').sum() == 2
    with pytest.raises(FeatureError, match=r"holds audio, video: name one of them 'text'"):
        read_array(tmp_path / 'a.safetensors', 'text')


def test_the_class_embedding_is_the_mean_or_the_first_token():
    values = torch.randn(2, 7, 4)
    tokens = as_tokens(values)
    assert torch.equal(tokens[:, 1:], values)
    torch.testing.assert_close(tokens[:, 0], values.mean(dim=1))
    assert torch.equal(as_tokens(values, class_token=True), values)
    fewer = as_tokens(values, class_token=True, num_tokens=3)
    torch.testing.assert_close(fewer[:, 2], values[:, 3:5].mean(dim=1))
    assert as_tokens(values[:, :1]).shape == (2, 1, 4)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.npy', None, 'no features at'),
        ('a.npy', b'', 'cannot be read as features'),
        ('a.npy', b'hello', 'cannot be read as features'),
        ('a.safetensors', b'hello', 'cannot be read as features'),
        ('a.pt', b'hello', 'features are files that end in .npy or .safetensors'),
        ('a.npy', np.zeros((1, 1, 1, 2), np.float32), r'has the shape \(1, 1, 1, 2\): features are \(D,\)'),
        ('a.npy', np.zeros(2, np.int64), r'holds torch.int64: features are floating-point'),
        ('a.npy', np.array([dict()], dtype=object), 'cannot be read as features'),
    ],
)
def test_what_is_no_feature_is_refused(name, content, message, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(FeatureError, match=message):
        read_array(tmp_path / name, 'audio')
