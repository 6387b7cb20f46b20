import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from mmav.models import ContrastiveHead
from mmav.registry import MODELS
from mmav.structures import AVDataSample
from tests.processes import join_pair, run_pair

FULL = [dict(type='AVCLoss', loss_weight=0.25), dict(type='IMCLoss', loss_weight=0.25)]
LABELS = (2, 0, 2, 1)
SETS = ((2, 0), (), (2,), (1, 0))
CASES = (dict(soft=False, absent=False), dict(soft=True, absent=True), dict(soft=True, absent=True, several=True))
ARCH = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))


def make_model(losses=FULL, several=False):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='AVClassifier',
            backbones=dict(
                video=dict(type='MViTv2', arch=ARCH, input_size=(4, 16, 16)),
                audio=dict(type='MAT', arch=ARCH, input_size=(16, 32), q_strides=[(1, 2)]),
            ),
            neck=dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2),
            head=dict(type='MultiLabelHead' if several else 'ClsHead', num_classes=3),
            contrast=dict(type='ContrastiveHead', embed_dims=6, losses=losses) if losses else None,
        )
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.double()  # in float32 rounding may decide which token has the gradient of a max pooling


def make_batch(soft, absent, audio_views=2, several=False):
    """Four clips; with soft labels the last two are mixed with each other; one sound may be absent."""
    generator = torch.Generator().manual_seed(0)
    inputs = dict(
        video=torch.randn(4, 2, 3, 4, 16, 16, generator=generator).double(),
        audio=torch.randn(4, audio_views, 1, 16, 32, generator=generator).double(),
    )
    samples = [AVDataSample().set_gt({'label': each}, {'label': 3}) for each in (SETS if several else LABELS)]
    if soft:
        onehot = torch.stack([s.target() for s in samples])
        onehot = onehot if several else torch.nn.functional.one_hot(onehot, 3).float()
        mixed = torch.stack((onehot[0], onehot[1], 0.7 * onehot[2] + 0.3 * onehot[3], onehot[3].lerp(onehot[2], 0.3)))
        for sample, score in zip(samples, mixed, strict=True):
            sample.set_gt_score(score)
    masks = dict(video=torch.ones(4).bool(), audio=torch.tensor([True, True, True, not absent]))
    return inputs, samples, masks


def rows(batch, part):
    inputs, samples, masks = batch
    return ({m: x[part] for m, x in inputs.items()}, samples[part], {m: x[part] for m, x in masks.items()})


def run(model, batch):
    inputs, samples, masks = batch
    losses = model(inputs, samples, masks, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    return {key: value.detach().item() for key, value in losses.items()}


def train_on_half(rank, file):
    with join_pair(rank, file):
        results = []
        for case in CASES:
            model = make_model(several=case.get('several', False))
            batch = rows(make_batch(**case), slice(2 * rank, 2 * rank + 2))
            if (
                case['soft'] and rank == 0 and not case.get('several')
            ):  # its batch was not mixed, and all its clips have both modalities
                for sample in batch[1]:
                    del sample.gt_score
                batch = (*batch[:2], None)
            losses = run(MMDistributedDataParallel(module=model, device_ids=None), batch)
            results.append((losses, {name: parameter.grad for name, parameter in model.named_parameters()}))
        torch.save(results, f'{file}.{rank}')


@pytest.fixture(scope='module')
def halves(tmp_path_factory):
    """Losses and gradients of each case, as both processes have them."""
    file = str(tmp_path_factory.mktemp('pair') / 'pair')
    run_pair(train_on_half, file)
    return list(zip(*(torch.load(f'{file}.{rank}', weights_only=True) for rank in range(2)), strict=True))


@pytest.mark.parametrize('case', range(len(CASES)))
def test_two_processes_equal_one_with_the_whole_batch(case, halves):
    (losses, grads), (other_losses, other_grads) = halves[case]
    model = make_model(several=CASES[case].get('several', False))
    whole = run(model, make_batch(**CASES[case]))
    share = 'hit1' if CASES[case].get('several') else 'top1'
    assert losses.keys() == whole.keys() == {'loss_cls', share, 'loss_avc', 'loss_imc_video', 'loss_imc_audio'}
    for key, value in whole.items():
        assert (losses[key] + other_losses[key]) / 2 == pytest.approx(value, abs=1e-5)
        if key not in ('loss_cls', share):
            assert losses[key] == other_losses[key]  # each process knows the loss of the whole batch
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
        for grad in (grads[name], other_grads[name]):
            torch.testing.assert_close(grad, parameter.grad, rtol=1e-5, atol=1e-10)


def test_losses_are_those_of_the_projected_class_embeddings():
    torch.manual_seed(0)
    head = ContrastiveHead(dict(video=8, audio=6), 5, FULL)
    classes, labels = dict(video=torch.randn(4, 2, 8), audio=torch.randn(4, 2, 6)), torch.tensor(LABELS)
    projected = {m: torch.nn.functional.linear(x, *head.projections[m].parameters()) for m, x in classes.items()}
    expected = {}
    for loss in FULL:
        expected |= {f'loss_{key}': value for key, value in MODELS.build(loss)(projected, dict(label=labels)).items()}
    torch.testing.assert_close(head.loss(classes, dict(label=labels)), expected)


def test_total_is_equation_8():
    torch.manual_seed(0)
    classes, labels = {m: torch.randn(4, 2, 8) for m in ('video', 'audio')}, dict(label=torch.tensor(LABELS))
    head = ContrastiveHead(dict(video=8, audio=8), 5, FULL)
    alone = {m: MODELS.build(dict(type='IMCLoss'))({m: x}, labels)[f'imc_{m}'] for m, x in head(classes).items()}
    avc = MODELS.build(dict(type='AVCLoss'))(head(classes), labels)['avc']
    torch.testing.assert_close(
        sum(head.loss(classes, labels).values()), 0.25 * avc + 0.25 * (alone['video'] + alone['audio']) / 2
    )


def test_classifier_adds_the_losses_in_training_only():
    model, plain, batch = make_model().eval(), make_model(losses=None).eval(), make_batch(soft=False, absent=False)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith('contrast')})
    losses, without = (m(batch[0], batch[1], mode='loss') for m in (model, plain))
    assert losses.keys() - without.keys() == {'loss_avc', 'loss_imc_video', 'loss_imc_audio'}
    assert losses['loss_cls'] == without['loss_cls']
    torch.testing.assert_close(model(batch[0]), plain(batch[0]))
    called = []
    model.contrast.register_forward_pre_hook(lambda *args: called.append(args))
    model(batch[0], batch[1], mode='predict')
    assert not called


@pytest.mark.parametrize('several', [False, True])
def test_the_head_says_which_labels_there_are(several):
    model, batch = make_model(several=several).eval(), make_batch(soft=True, absent=False, several=several)
    seen = []
    model.contrast.losses[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    model(*batch, mode='loss')
    assert seen == [dict(multi_label=['label'])] if several else [{}]


def test_classifier_gives_each_view_once():
    model = make_model([dict(type='ALLoss')]).eval()
    inputs, samples, _ = make_batch(soft=False, absent=False, audio_views=1)
    seen = []
    model.contrast.losses[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    found = model(inputs, samples, mode='loss')['loss_al']
    assert {m: x.shape for m, x in seen[0].items()} == dict(video=(4, 2, 6), audio=(4, 1, 6))
    classes = {m: model.backbones[m](x.flatten(0, 1)).cls.unflatten(0, (4, -1)) for m, x in inputs.items()}
    torch.testing.assert_close(model.contrast.loss(classes, dict(label=torch.tensor(LABELS)))['loss_al'], found)


def test_classifier_leaves_out_what_is_absent():
    model, batch = make_model().eval(), make_batch(soft=False, absent=True)
    before = model(*batch, mode='loss')
    loud = copy.deepcopy(batch[0])
    loud['audio'][3] = 50.0
    after = model(loud, *batch[1:], mode='loss')
    torch.testing.assert_close(before, after)
    assert not torch.allclose(before['loss_avc'], model(*batch[:2], mode='loss')['loss_avc'])


def test_a_category_may_be_a_verb_and_a_noun():
    torch.manual_seed(0)
    classes = {m: torch.randn(4, 2, 8) for m in ('video', 'audio')}
    head = ContrastiveHead(dict(video=8, audio=8), 5, FULL)
    verb, noun = torch.tensor([0, 0, 1, 0]), torch.tensor([1, 2, 1, 1])
    torch.testing.assert_close(
        head.loss(classes, dict(verb=verb, noun=noun)), head.loss(classes, dict(label=3 * verb + noun))
    )


def test_bad_values():
    with pytest.raises(ValueError, match='ContrastiveHead needs the width of at least one modality, got in_dims=None'):
        ContrastiveHead()
    with pytest.raises(ValueError, match='ContrastiveHead needs at least one loss'):
        ContrastiveHead(dict(video=8), 5, [])
    classes = {m: torch.randn(4, 1, 8) for m in ('video', 'audio')}
    with pytest.raises(ValueError, match='two of them give loss_avc'):
        ContrastiveHead(dict(video=8, audio=8), 5, [FULL[0], FULL[0]]).loss(classes, dict(label=torch.tensor(LABELS)))
    with pytest.raises(ValueError, match='IMCLoss compares 2 views of each modality, video has 1'):
        ContrastiveHead(dict(video=8, audio=8), 5, FULL).loss(classes, dict(label=torch.tensor(LABELS)))
