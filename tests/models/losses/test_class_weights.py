import numpy as np
import pytest
import torch

from mmav.errors import ConfigError
from mmav.models import BCELoss, ClsHead, CrossEntropyLoss, MultiLabelHead
from mmav.models.losses.class_weights import ClassWeights, forget_balance

LABELS = np.array([0, 0, 0, 1, 2, 2])


def test_balanced_is_scikit_learns():
    compute = pytest.importorskip('sklearn.utils').compute_class_weight
    weights = ClassWeights(class_weight='balanced')
    weights.fit(3)
    found = weights.balance(np.bincount(LABELS).tolist(), len(LABELS))['class_weight']
    expected = compute('balanced', classes=np.arange(3), y=LABELS)
    torch.testing.assert_close(found.double(), torch.tensor(expected), rtol=1e-6, atol=0)
    assert found[LABELS].mean().item() == pytest.approx(1)  # so that the loss keeps its scale


def test_balanced_positives_weigh_as_much_as_negatives():
    target = torch.nn.functional.one_hot(torch.tensor(LABELS), 5).float()  # nobody has the classes 3 and 4
    target[:, 4] = 1  # all have it
    loss = MultiLabelHead(5, dict(x=2), dict(type='BCELoss', pos_weight='balanced')).loss_module
    loss.weights.balance(target.sum(0).tolist(), 6)
    weights = loss.weights.of('pos_weight')
    for c in range(3):
        assert (weights[c] * target[:, c]).sum() == (1 - target[:, c]).sum()
    assert weights.isfinite().all() and (weights > 0).all()


@pytest.mark.parametrize('head', [ClsHead, MultiLabelHead])
def test_waits_for_the_runner(head):
    loss = dict(type=head.default_loss, class_weight='balanced')
    made = head(3, dict(x=2), loss)
    target = torch.eye(3) if made.multi_label else torch.arange(3)
    streams = dict(x=torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="class_weight='balanced' is counted from the training clips"):
        made.loss(streams, dict(label=target))
    assert not any('weights' in name for name in made.state_dict())  # of the data, not of the model
    forget_balance(made)
    plain = head(3, dict(x=2))
    plain.load_state_dict(made.state_dict())
    assert made.loss(streams, dict(label=target)) == plain.loss(streams, dict(label=target))


@pytest.mark.parametrize(
    ('head', 'loss'),
    [
        (ClsHead, dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])),
        (MultiLabelHead, dict(type='BCELoss', class_weight=[1.0, 2.0])),
        (MultiLabelHead, dict(type='BCELoss', pos_weight=[1.0, 2.0])),
    ],
)
def test_as_many_numbers_as_classes(head, loss):
    with pytest.raises(ConfigError, match=r'head.loss.\w+ has 2 numbers, but the head has 3 classes'):
        head(3, dict(x=2), loss)
    assert head(2, dict(x=2), loss)


def test_bad_values():
    with pytest.raises(ValueError, match="class_weight='balancd': give one number a class, or 'balanced', did you"):
        CrossEntropyLoss(class_weight='balancd')
    with pytest.raises(ValueError, match='class_weight=2.0 is the same for every class'):
        CrossEntropyLoss(class_weight=2.0)
    for numbers in ([1.0, -1.0], [1.0, float('inf')], [0.0, 0.0], []):
        with pytest.raises(ValueError, match='must not be negative or infinite, nor all 0'):
            BCELoss(pos_weight=numbers)
