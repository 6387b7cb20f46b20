import pytest
import torch

from mmav.models.losses import agreement as module
from mmav.models.losses.agreement import agreement, common_labels

SETS = [{0, 1}, {1, 2}, {3}, set(), {0, 1, 2}, {0}, set()]
LABELS = torch.tensor([[float(c in each) for c in range(4)] for each in SETS])


@pytest.mark.parametrize('kind', ['jaccard', 'shared'])
def test_sets(kind):
    found = common_labels(LABELS, kind)
    for i, a in enumerate(SETS):
        for j, b in enumerate(SETS):
            expected = float(bool(a & b)) if kind == 'shared' else len(a & b) / len(a | b) if a | b else 0.0
            assert found[i, j].item() == pytest.approx(expected)


@pytest.mark.parametrize('kind', ['jaccard', 'shared'])
@pytest.mark.parametrize('rows', [1, 2, 100])
def test_mixed_sets_equal_a_slow_loop(kind, rows, monkeypatch):
    monkeypatch.setattr(module, '_ENTRIES', rows * LABELS.numel())
    labels = 0.7 * LABELS + 0.3 * LABELS.flip(0)
    found = common_labels(labels, kind)
    for i, a in enumerate(labels.tolist()):
        for j, b in enumerate(labels.tolist()):
            least, most = ([choose(pair) for pair in zip(a, b, strict=True)] for choose in (min, max))
            expected = max(least) if kind == 'shared' else sum(least) / sum(most) if sum(most) else 0.0
            assert found[i, j].item() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(found, found.T) and (found >= 0).all() and (found <= 1).all()


def test_disjoint_mixed_sets_have_no_weight_at_all():
    """Not even that of rounding, which would make a positive of it."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(40, 60, generator=generator) * (torch.arange(60) % 2 == torch.arange(40)[:, None] % 2)
    weights = common_labels(labels)
    assert not weights[::2, 1::2].any() and weights[::2, ::2].all()


def test_one_label_a_clip():
    labels = torch.tensor([2, 0, 2])
    assert agreement(labels).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    onehot = torch.nn.functional.one_hot(labels, 3)
    assert torch.equal(agreement(onehot), agreement(labels)) and torch.equal(common_labels(onehot), agreement(labels))
    soft = torch.tensor([[0.7, 0.3], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(agreement(soft), soft @ soft.T, rtol=0, atol=0)
