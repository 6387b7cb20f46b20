import math

import pytest
import torch

from mmav.registry import MODELS

CROSS, INTRA = ('AVCLoss', 'ALLoss'), ('IMCLoss', 'IMALLoss')
KEYS = dict(AVCLoss='avc', ALLoss='al', IMCLoss='imc', IMALLoss='imal')
# several of class 2, two of class 0, one alone; and the same clips' labels mixed with their mirror images
CLASSES = torch.tensor([2, 0, 2, 1, 0, 2])
ROWS = torch.nn.functional.one_hot(CLASSES, 4).double()
HARD, ONEHOT, SOFT = (dict(label=values) for values in (CLASSES, ROWS, 0.7 * ROWS + 0.3 * ROWS.flip(0)))
MASKS = dict(video=torch.tensor([1, 1, 1, 1, 0, 1]).bool(), audio=torch.tensor([1, 0, 1, 1, 1, 1]).bool())


def make(views=(2, 2), dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    shapes = dict(zip(('video', 'audio'), views, strict=True))
    return {
        m: (scale * torch.randn(6, v, 5, generator=generator, dtype=torch.float64)).to(dtype) for m, v in shapes.items()
    }


# any number of labels a clip, none for one; and the same clips' labels mixed with their mirror images
SETS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]).double()


def same_category(parts, i, j, sets=None):
    return math.prod(
        same_class(labels, i, j) if sets is None else same_labels(labels[i].tolist(), labels[j].tolist(), sets)
        for labels in parts.values()
    )


def same_labels(a, b, kind):
    least, most = ([choose(pair) for pair in zip(a, b, strict=True)] for choose in (min, max))
    return max(least) if kind == 'shared' else sum(least) / sum(most) if sum(most) else 0.0


def same_class(labels, i, j):
    if labels.dim() == 1:
        return float(labels[i] == labels[j])
    return sum(float(labels[i, c]) * float(labels[j, c]) for c in range(labels.shape[1]))


def cosine(x, y):
    return sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / (float(x.norm()) * float(y.norm()))


def slow_direction(anchors, candidates, weight, tau):
    """Eq. 3 and 4 with exp(s / tau), one anchor after the other; items are (clip, modality, view, vector)."""
    total, count = 0.0, 0
    for anchor in anchors:
        others = [other for other in candidates if other[:3] != anchor[:3]]
        weights = [weight(anchor[0], other[0]) for other in others]
        if sum(weights) == 0:
            continue
        exps = [math.exp(cosine(anchor[3], other[3]) / tau) for other in others]
        per_positive = [-w * math.log(e / sum(exps)) for w, e in zip(weights, exps, strict=True)]
        total, count = total + sum(per_positive) / sum(weights), count + 1
    return total / count if count else 0.0


def slow(name, embeddings, labels, masks=None, tau=0.07, sets=None):
    def weight(i, j):
        return same_category(labels, i, j, sets) if name in ('AVCLoss', 'IMCLoss') else float(i == j)

    items = {
        m: [(i, m, v, x[i, v]) for i in range(6) for v in range(x.shape[1]) if masks is None or masks[m][i]]
        for m, x in embeddings.items()
    }
    if name in CROSS:
        there = slow_direction(items['video'], items['audio'], weight, tau)
        back = slow_direction(items['audio'], items['video'], weight, tau)
        return {KEYS[name]: (there + back) / 2}
    return {f'{KEYS[name]}_{m}': slow_direction(item, item, weight, tau) / 2 for m, item in items.items()}


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
@pytest.mark.parametrize(
    'labels', [HARD, SOFT, dict(label=torch.arange(6)), dict(verb=CLASSES, noun=torch.tensor([1, 0, 1, 1, 0, 0]))]
)
@pytest.mark.parametrize('masks', [None, MASKS], ids=['all', 'absent'])
def test_equals_the_slow_loop(name, labels, masks):
    embeddings = make()
    found = MODELS.build(dict(type=name, tau=0.2))(embeddings, labels, masks)
    expected = slow(name, embeddings, labels, masks, tau=0.2)
    assert {key: value.item() for key, value in found.items()} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('name', ['AVCLoss', 'IMCLoss'])
@pytest.mark.parametrize('kind', ['jaccard', 'shared'])
@pytest.mark.parametrize(
    'sets', [SETS, 0.7 * SETS + 0.3 * SETS.flip(0), torch.zeros(6, 4)], ids=['hard', 'mixed', 'no']
)
@pytest.mark.parametrize('masks', [None, MASKS], ids=['all', 'absent'])
def test_any_number_of_labels_equals_the_slow_loop(name, kind, sets, masks):
    embeddings, labels = make(), dict(label=sets)
    found = MODELS.build(dict(type=name, tau=0.2, pair_weight=kind))(embeddings, labels, masks, multi_label=['label'])
    expected = slow(name, embeddings, labels, masks, tau=0.2, sets=kind)
    assert {key: value.item() for key, value in found.items()} == pytest.approx(expected, rel=1e-6)
    assert any(value > 0.01 for value in expected.values()) is bool(sets.any())


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
def test_numbers_alone_do_not_tell_the_kind_of_labels(name):
    """A mixed clip of one label, and a clip of two: the same rows, other weights, where classes count."""
    loss, embeddings, labels = MODELS.build(dict(type=name)), make(), dict(label=SOFT['label'])
    one, several = loss(embeddings, labels), loss(embeddings, labels, multi_label=['label'])
    assert (one == several) is (name in ('ALLoss', 'IMALLoss'))
    if name == 'AVCLoss':
        jaccard = MODELS.build(dict(type=name, pair_weight='jaccard'))(embeddings, labels, multi_label=['label'])
        assert several == jaccard  # by default


def test_weights_of_pairs_are_checked():
    with pytest.raises(ValueError, match="pair_weight='jacard' is unknown: choose jaccard or shared, did you mean"):
        MODELS.build(dict(type='AVCLoss', pair_weight='jacard'))
    with pytest.raises(ValueError, match="IMCLoss: pair_weight='shared' has no effect on clips with one label"):
        MODELS.build(dict(type='IMCLoss', pair_weight='shared'))(make(), HARD)


@pytest.mark.parametrize('name', CROSS)
def test_one_sound_for_two_pictures(name):
    embeddings = make(views=(2, 1))
    found = MODELS.build(dict(type=name))(embeddings, HARD)
    assert {key: value.item() for key, value in found.items()} == pytest.approx(slow(name, embeddings, HARD))


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
def test_one_hot_soft_labels_are_hard_labels(name):
    loss, embeddings = MODELS.build(dict(type=name)), make()
    torch.testing.assert_close(loss(embeddings, ONEHOT), loss(embeddings, HARD))


@pytest.mark.parametrize(('supervised', 'plain'), [('AVCLoss', 'ALLoss'), ('IMCLoss', 'IMALLoss')])
def test_without_common_categories_only_the_clip_itself_matches(supervised, plain):
    embeddings, labels = make(), dict(label=torch.arange(6))
    found = MODELS.build(dict(type=supervised))(embeddings, labels).values()
    torch.testing.assert_close(
        list(found), list(MODELS.build(dict(type=plain))(embeddings, labels).values()), rtol=1e-9, atol=0
    )
    assert min(found) > 0.01


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
@pytest.mark.parametrize('labels', [HARD, SOFT], ids=['hard', 'soft'])
def test_gradients_by_finite_differences(name, labels):
    loss, embeddings = MODELS.build(dict(type=name, tau=0.3)), make()

    def total(video, audio):
        return sum(loss(dict(video=video, audio=audio), labels, MASKS).values())

    assert torch.autograd.gradcheck(total, [x.requires_grad_() for x in embeddings.values()])


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_does_not_overflow(name, dtype, autocast):
    # exp(1 / tau) leaves the range of float16, and so do squares of these
    embeddings = make(dtype=dtype, scale=3000.0)
    embeddings['audio'] = embeddings['video'].clone()
    leaves = [x.requires_grad_() for x in embeddings.values()]
    loss = MODELS.build(dict(type=name, tau=0.05))
    with torch.autocast('cpu', dtype, enabled=autocast):
        found = loss(embeddings, HARD)
    exact = loss({m: x.detach().double() for m, x in embeddings.items()}, HARD)
    for key, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[key].float(), rtol=1e-4, atol=1e-5)
    sum(found.values()).backward()
    assert all(x.grad.isfinite().all() for x in leaves)


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
def test_absent_content_reaches_nothing(name):
    loss, embeddings = MODELS.build(dict(type=name)), make()
    before = loss(embeddings, HARD, MASKS)
    for m, x in embeddings.items():
        x[~MASKS[m]] = math.nan
        x.requires_grad_()
    after = loss(embeddings, HARD, MASKS)
    torch.testing.assert_close(after, before)
    sum(after.values()).backward()
    assert all(x.grad.isfinite().all() and not x.grad[~MASKS[m]].any() for m, x in embeddings.items())


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
def test_without_any_positive_the_loss_is_zero_with_a_graph(name):
    embeddings = {m: x.requires_grad_() for m, x in make().items()}
    nobody = dict(video=torch.zeros(6).bool(), audio=torch.zeros(6).bool())
    total = sum(MODELS.build(dict(type=name))(embeddings, HARD, nobody).values())
    total.backward()
    assert total == 0
    assert all(not x.grad.any() for x in embeddings.values())


def test_anchors_without_positives_are_not_counted():
    # clip 1 has no sound: its picture finds no positive, and the mean is over the other five
    masks = dict(video=torch.ones(6).bool(), audio=MASKS['audio'])
    embeddings = make(views=(1, 1))
    found = MODELS.build(dict(type='ALLoss'))(embeddings, HARD, masks)['al']
    assert found.item() == pytest.approx(slow('ALLoss', embeddings, HARD, masks)['al'])


@pytest.mark.parametrize('name', [*CROSS, *INTRA])
def test_weight_scales(name):
    embeddings = make()
    once = MODELS.build(dict(type=name))(embeddings, HARD)
    half = MODELS.build(dict(type=name, loss_weight=0.5))(embeddings, HARD)
    torch.testing.assert_close({key: value / 2 for key, value in once.items()}, half)


def test_bad_values():
    with pytest.raises(ValueError, match='tau=0 must be above 0'):
        MODELS.build(dict(type='AVCLoss', tau=0))
    with pytest.raises(ValueError, match="AVCLoss compares modalities, but the model has only \\['audio'\\]"):
        MODELS.build(dict(type='AVCLoss'))(dict(audio=make()['audio']), HARD)
    with pytest.raises(ValueError, match='IMCLoss compares 2 views of each modality, audio has 1: set num_views=2'):
        MODELS.build(dict(type='IMCLoss'))(make(views=(2, 1)), HARD)
