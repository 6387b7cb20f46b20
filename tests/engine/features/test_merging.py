"""What was trained on features joins the encoders of these features, and no others."""

import pytest
import torch

from mmav.checkpoints import load_checkpoint_file
from mmav.engine.features.encoders import encoder_digests
from mmav.engine.features.merging import encoders_behind, join_encoders
from mmav.errors import CheckpointError


@pytest.fixture
def parts(extracted):
    """A checkpoint of training on features, and that of the encoders."""
    digests = encoder_digests(extracted.model.state_dict())
    state = {name: value for name, value in extracted.model.state_dict().items() if not name.startswith('backbones.')}
    trained = dict(meta=dict(dataset_meta=dict(classes=('x', 'y'), encoders=digests)), state_dict=state)
    return trained, load_checkpoint_file(extracted.folder / 'encoders.pth')


def test_the_whole_model(parts, extracted):
    trained, encoders = parts
    assert encoders_behind(trained) is not None and encoders_behind(encoders) is None
    state, meta = join_encoders(trained, 'head.pth', [('encoders.pth', encoders)])
    expected = extracted.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in state.items())
    assert meta['dataset_meta'] == dict(classes=('x', 'y'))


def test_only_the_encoders_that_were_used(parts):
    trained, encoders = parts
    del trained['meta']['dataset_meta']['encoders']['audio']
    state, _ = join_encoders(trained, 'head.pth', [('encoders.pth', encoders)])
    assert {name.split('.')[1] for name in state if name.startswith('backbones.')} == {'video'}


def test_mistakes(parts):
    trained, encoders = parts
    for others, message in (
        ([], 'no encoder of them is given: add the encoders.pth'),
        ([('e.pth', encoders), ('f.pth', encoders)], "'e.pth' and 'f.pth' both hold an encoder of"),
        ([('x.pth', dict(conv=torch.zeros(1)))], "'x.pth' holds no encoders"),
    ):
        with pytest.raises(CheckpointError, match=message):
            join_encoders(trained, 'head.pth', others)
    state = {name: value + 1 for name, value in encoders['state_dict'].items()}
    with pytest.raises(CheckpointError, match="'head.pth' was trained on features of another .* encoder than that of"):
        join_encoders(trained, 'head.pth', [('other.pth', dict(state_dict=state))])
