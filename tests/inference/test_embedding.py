import numpy as np
import pytest
import torch

from mmav.apis import AVInferencer
from mmav.errors import MediaError
from mmav.inference.embedding import JOINED, embed
from tests.inference.models import config, write_model


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    return AVInferencer(*write_model(tmp_path_factory.mktemp('model'), config(window=1.0)), show_progress=False)


def test_embedding_is_what_the_last_layer_reads(inferencer, clip):
    (found,) = embed(inferencer, str(clip), 1)
    assert set(found) == {JOINED, 'fused', 'video', 'audio'}
    # two windows of 1 s, whose mean it is
    data = inferencer.prepare([inferencer.read(str(clip), start=start, end=start + 1.0) for start in (0.0, 1.0)])
    seen = []
    (layer,) = inferencer.model.head.fcs.values()
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        inferencer.model(data['inputs'], masks=data['masks'])
    hook.remove()
    assert seen[0].std(dim=0).max() > 0  # the windows differ
    np.testing.assert_allclose(found['fused'], seen[0].mean(dim=0).numpy(), atol=1e-5)
    np.testing.assert_array_equal(found['fused'], found[JOINED])
    assert not inferencer.model.keep_features


def test_clip_without_a_modality_has_no_embedding_of_it(inferencer, silent, clip):
    whole, mute = embed(inferencer, [str(clip), str(silent)])
    assert 'audio' in whole and 'audio' not in mute and 'video' in mute
    (deaf,) = embed(inferencer, str(clip), drop=['audio'])
    assert 'audio' not in deaf
    np.testing.assert_allclose(deaf['video'], whole['video'], atol=1e-6)


def test_broken_clip_is_an_error(inferencer, tmp_path):
    (tmp_path / 'a.mp4').write_bytes(b'no clip')
    with pytest.raises(MediaError, match=r'a\.mp4'):
        embed(inferencer, str(tmp_path / 'a.mp4'))
