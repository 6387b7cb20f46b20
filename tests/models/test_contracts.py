"""What holds for every registered backbone, neck, head and loss. They are found in the registry, not listed."""

import inspect
import math

import pytest
import torch

from mmav.engine.activation_checkpointing import turn_on_activation_checkpointing
from mmav.engine.loading import load_weights
from mmav.registry import MODELS
from mmav.structures import AVDataSample, Tokens
from tests.models.auxiliary.teacher_files import write_teachers

# small values for arguments of these names, whatever the component
SMALL = dict(
    arch=dict(embed_dims=16, num_layers=4, num_heads=1, stage_blocks=(1, 2, 3)),
    embed_dims=16,
    num_layers=2,
    num_blocks=2,
    num_heads=2,
    num_classes=5,
    num_verbs=5,
    num_nouns=5,
)
SIZES = {2: ((33, 70), (48, 50)), 3: ((5, 34, 50), (6, 40, 33))}  # odd and rectangular: at construction, at run time


def registered(package):
    MODELS.import_from_location()
    prefix = f'mmav.models.{package}.'
    return sorted(name for name, part in MODELS.module_dict.items() if part.__module__.startswith(prefix))


def defaults(name):
    """Every argument with a default, also those that go to the parents."""
    found = {}
    for cls in reversed(inspect.getmro(MODELS.get(name))):
        if cls.__module__.startswith('mmav.'):
            found.update({p.name: p.default for p in inspect.signature(cls).parameters.values()})
    return found


def build(name, **kwargs):
    known = defaults(name)
    torch.manual_seed(0)
    return MODELS.build({'type': name, **{k: v for k, v in SMALL.items() if k in known}, **kwargs})


def flags(names):
    return [
        pytest.param(name, flag, id=f'{name}-{flag}')
        for name in names
        for flag, default in defaults(name).items()
        if isinstance(default, bool)
    ]


def randomise(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, mean=0.01, std=0.1)
    return module.eval()


def assert_round_trip(make, run):
    first, second = randomise(make()), make().eval()
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(run(first), run(second))


def assert_gradients_reach(module):
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


BACKBONES, NECKS, HEADS, LOSSES = (registered(p) for p in ('backbones', 'necks', 'heads', 'losses'))
# those that hold another network have no size of their own, and tests in their own files
BACKBONES = [name for name in BACKBONES if isinstance(defaults(name).get('input_size'), tuple)]
# a head that predicts reads streams; one that does not, and the losses inside it, compare the embeddings of a batch
CLASSIFIERS = [name for name in HEADS if hasattr(MODELS.get(name), 'predict')]
CONTRASTIVE_HEADS = [name for name in HEADS if name not in CLASSIFIERS]
CONTRASTIVE_LOSSES = [name for name in LOSSES if 'embeddings' in inspect.signature(MODELS.get(name).forward).parameters]
LOGIT_LOSSES = [name for name in LOSSES if name not in CONTRASTIVE_LOSSES]


def test_each_kind_is_there():
    assert {'MAT', 'MViTv2'} <= set(BACKBONES)
    assert {'AVBottleneck', 'Avg'} <= set(NECKS)
    assert {'ClsHead', 'MultiLabelHead', 'VerbNounHead'} <= set(CLASSIFIERS)
    assert 'ContrastiveHead' in CONTRASTIVE_HEADS
    assert {'CrossEntropyLoss', 'BCELoss'} <= set(LOGIT_LOSSES)
    assert {'AVCLoss', 'IMCLoss', 'ALLoss', 'IMALLoss'} <= set(CONTRASTIVE_LOSSES)


def backbone_input(name, at_run_time=False):
    known = defaults(name)
    size = SIZES[len(known['input_size'])][at_run_time]
    return torch.randn(2, known['in_channels'], *size, generator=torch.Generator().manual_seed(0))


def make_backbone(name, **kwargs):
    return build(name, input_size=SIZES[len(defaults(name)['input_size'])][0], **kwargs)


def assert_tokens(backbone, x):
    tokens = backbone(x)
    assert isinstance(tokens, Tokens)
    assert tokens.cls.shape == (2, backbone.out_dims)
    assert tokens.patches.shape == (2, math.prod(tokens.grid), backbone.out_dims)
    assert len(tokens.grid) == x.dim() - 2
    assert tokens.cls.isfinite().all() and tokens.patches.isfinite().all()
    return tokens


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('strict', [False, True])
def test_weights_of_another_input_size_are_those_of_run_time(name, strict):
    """Our own checkpoint in a config of longer inputs: what is interpolated there is interpolated here."""
    small = torch.nn.ModuleDict(dict(it=randomise(make_backbone(name))))
    size = (*small['it'].input_size[:-1], small['it'].input_size[-1] + 32)
    large = torch.nn.ModuleDict(dict(it=build(name, input_size=size).eval()))
    load_weights(large, small.state_dict(), 'small.pth', strict=strict)
    x = torch.randn(2, defaults(name)['in_channels'], *size, generator=torch.Generator().manual_seed(0))
    ours, at_run_time = (model['it'](x) for model in (large, small))
    torch.testing.assert_close(ours.patches, at_run_time.patches)
    torch.testing.assert_close(ours.cls, at_run_time.cls)


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('at_run_time', [False, True])
def test_backbone_takes_odd_rectangular_sizes(name, at_run_time):
    assert_tokens(randomise(make_backbone(name)), backbone_input(name, at_run_time))


@pytest.mark.parametrize(('name', 'flag'), flags(BACKBONES))
def test_backbone_works_with_each_flag_turned(name, flag):
    backbone = make_backbone(name, **{flag: not defaults(name)[flag]})
    backbone.init_weights()
    tokens = assert_tokens(backbone, backbone_input(name))
    (tokens.cls.square().sum() + tokens.patches.square().sum()).backward()


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_gradients_reach_every_parameter(name):
    backbone = randomise(make_backbone(name))
    tokens = backbone(backbone_input(name))
    (tokens.cls.pow(3).sum() + tokens.patches.pow(3).sum()).backward()
    assert_gradients_reach(backbone)


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_state_dict_round_trip(name):
    x = backbone_input(name)
    assert_round_trip(lambda: make_backbone(name), lambda backbone: backbone(x).patches)


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_keeps_clips_apart(name):
    backbone, x = randomise(make_backbone(name)), backbone_input(name)
    torch.testing.assert_close(backbone(x).cls[1:], backbone(x[1:]).cls, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_runs_in_bfloat16(name):
    backbone, x = randomise(make_backbone(name)), backbone_input(name)
    with torch.autocast('cpu', torch.bfloat16):
        low = backbone(x).cls
    torch.testing.assert_close(low.float(), backbone(x).cls, atol=0.1, rtol=0.1)


DROPPING = [name for name in BACKBONES if 'token_drop' in defaults(name)]
# sizes with several units of all strides along each axis, the last of which are not whole
DROPPING_SIZES = {2: (90, 140), 3: (6, 70, 100)}


def make_dropping(name, **drop):
    size = DROPPING_SIZES[len(defaults(name)['input_size'])]
    small = dict(embed_dims=16, num_layers=3, num_heads=1, stage_blocks=(1, 2))
    strides = [(1,) * (len(size) - 2) + (2, 2)] * 2
    kwargs = {'arch': small, 'q_strides': strides, 'unit': strides[0][:-2] + (4, 4)}
    kwargs = {key: value for key, value in kwargs.items() if key in defaults(name)}
    return randomise(build(name, input_size=size, token_drop=drop or None, **kwargs)).train()


def dropping_input(name):
    known = defaults(name)
    size = DROPPING_SIZES[len(known['input_size'])]
    return torch.randn(2, known['in_channels'], *size, generator=torch.Generator().manual_seed(0))


def test_all_our_transformers_can_drop_tokens():
    assert {'AST', 'Hiera', 'MAT', 'MViTv2', 'ViT'} <= set(DROPPING)


@pytest.mark.parametrize('name', DROPPING)
def test_dropped_tokens_leave_a_smaller_grid_in_training_only(name):
    rank = len(defaults(name)['input_size'])
    backbone, x = make_dropping(name, axes=(0.0,) * (rank - 1) + (0.5,)), dropping_input(name)
    whole = make_dropping(name)
    assert_tokens(backbone.eval(), x)
    torch.testing.assert_close(backbone(x).patches, whole.eval()(x).patches)
    assert backbone.state_dict().keys() == whole.state_dict().keys()
    torch.manual_seed(1)
    tokens = assert_tokens(backbone.train(), x)
    grid = whole(x).grid
    assert tokens.grid[:-1] == grid[:-1] and grid[-1] / 3 < tokens.grid[-1] < grid[-1]
    torch.manual_seed(1)
    assert backbone(x).patches.equal(tokens.patches)  # of the seed
    assert not all(backbone(x).cls.equal(tokens.cls) for _ in range(8))
    (tokens.cls.pow(3).sum() + tokens.patches.pow(3).sum()).backward()
    assert_gradients_reach(backbone)


@pytest.mark.parametrize('name', DROPPING)
def test_a_share_of_zero_drops_nothing(name):
    rank = len(defaults(name)['input_size'])
    x, none = dropping_input(name), make_dropping(name, axes=(0.0,) * rank)
    assert none.token_drop is None
    before = torch.get_rng_state()
    torch.testing.assert_close(none(x).patches, make_dropping(name)(x).patches, atol=0, rtol=0)
    torch.set_rng_state(before)


@pytest.mark.parametrize('name', DROPPING)
@pytest.mark.parametrize('level', ['lean', 'attention', 'full'])
def test_dropped_tokens_with_activation_checkpointing(name, level):
    rank, x = len(defaults(name)['input_size']), dropping_input(name)
    if name == 'Hiera' and level != 'full':
        pytest.skip('its blocks are none of ours')
    grads = []
    for parts in (False, {level: True if level != 'full' else ['backbones']}):
        backbone = make_dropping(name, axes=(0.5,) * rank)
        model = torch.nn.ModuleDict(dict(backbones=torch.nn.ModuleDict(dict(it=backbone))))
        turn_on_activation_checkpointing(model, parts)
        torch.manual_seed(1)
        tokens = backbone(x)
        (tokens.cls.pow(2).sum() + tokens.patches.pow(2).sum()).backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.parametrize('name', [*BACKBONES, *NECKS, *HEADS])
def test_init_weights_changes_every_matrix(name):
    module = make_backbone(name) if name in BACKBONES else build(name, in_dims=dict(video=16, audio=16))
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    module.init_weights()
    for key, parameter in module.named_parameters():
        assert not (parameter == 7.0).any(), key


def built_with(name, std):
    """A part with ``init_std`` where it takes one, and the standard deviation that its linear layers then have."""
    kwargs = dict(init_std=std) if 'init_std' in defaults(name) else {}
    kwargs |= dict(embed_dims=64) if 'embed_dims' in defaults(name) and name not in HEADS else {}
    part = (
        make_backbone(name, **kwargs) if name in BACKBONES else build(name, in_dims=dict(video=64, audio=32), **kwargs)
    )
    return part, std if 'init_std' in kwargs else 0.02


@pytest.mark.parametrize('name', [*BACKBONES, *NECKS, *HEADS])
@pytest.mark.parametrize('again', [False, True], ids=['built', 'init_weights'])
def test_every_parameter_follows_the_rule_of_initial_values(name, again):
    """The rule of mmav/models/init.py, when a part is built and after ``init_weights``."""
    part, std = built_with(name, 0.1)
    if again:
        for parameter in part.parameters():
            torch.nn.init.constant_(parameter, 7.0)
        part.init_weights()
    linear, tokens, seen = [], [], set()
    for prefix, module in part.named_modules():
        if isinstance(module, torch.nn.Linear):
            linear.append(module.weight.flatten())
            assert module.bias is None or not module.bias.any(), prefix
        elif isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
            bound = module.weight[0].numel() ** -0.5  # PyTorch's, for weights and biases
            assert all(0 < p.abs().max() <= bound for p in module.parameters()), prefix
        elif isinstance(module, torch.nn.LayerNorm | torch.nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all(), prefix
        else:
            tokens += [p.flatten() for p in module.parameters(recurse=False)]
            continue
        seen |= {f'{prefix}.{key}' if prefix else key for key, _ in module.named_parameters(recurse=False)}
    if linear:
        assert torch.cat(linear).std().item() == pytest.approx(std, rel=0.05)
    if tokens:
        assert torch.cat(tokens).std().item() == pytest.approx(0.02, rel=0.15)
    others = {key for key, _ in part.named_parameters()} - seen
    if name in (*BACKBONES, *NECKS):  # what is no layer is what is not decayed
        assert others == (part.no_weight_decay() if hasattr(part, 'no_weight_decay') else set())


def test_all_that_draw_linear_layers_for_tokens_take_the_deviation():
    for name in (*BACKBONES, *NECKS):
        part, _ = built_with(name, 0.1)
        has_layers = any(isinstance(module, torch.nn.Linear) for module in part.modules())
        assert has_layers == ('init_std' in defaults(name)), name


def neck_tokens():
    generator = torch.Generator().manual_seed(0)
    grids = dict(video=(2, 2, 3), audio=(2, 4))
    return {
        m: Tokens(
            torch.randn(3, 16, generator=generator), torch.randn(3, math.prod(grid), 16, generator=generator), grid
        )
        for m, grid in grids.items()
    }


def make_neck(name, **kwargs):
    return build(name, in_dims=dict(video=16, audio=16), **kwargs)


MASKS = [None, dict(video=[True, True, False], audio=[True, False, True]), dict(video=[True] * 3, audio=[False] * 3)]


@pytest.mark.parametrize('name', NECKS)
@pytest.mark.parametrize('masks', MASKS)
def test_neck_gives_named_streams(name, masks):
    neck = randomise(make_neck(name))
    if masks is not None:
        masks = {m: torch.tensor(mask) for m, mask in masks.items()}
    streams = neck(neck_tokens(), masks)
    assert {stream: value.shape for stream, value in streams.items()} == {
        stream: (3, width) for stream, width in neck.out_dims.items()
    }
    assert all(value.isfinite().all() for value in streams.values())


@pytest.mark.parametrize('name', NECKS)
def test_neck_keeps_clips_apart_and_masks_of_all_change_nothing(name):
    neck, tokens = randomise(make_neck(name)), neck_tokens()
    everything = {m: torch.ones(3, dtype=torch.bool) for m in tokens}
    first = {m: Tokens(t.cls[:1], t.patches[:1], t.grid) for m, t in tokens.items()}
    for stream, value in neck(tokens).items():
        torch.testing.assert_close(neck(tokens, everything)[stream], value)
        torch.testing.assert_close(neck(first)[stream], value[:1])


@pytest.mark.parametrize('name', NECKS)
def test_neck_gradients_and_round_trip(name):
    neck = randomise(make_neck(name))
    if list(neck.parameters()):
        sum(value.pow(3).sum() for value in neck(neck_tokens()).values()).backward()
        assert_gradients_reach(neck)
    assert_round_trip(lambda: make_neck(name), lambda n: torch.cat(list(n(neck_tokens()).values()), dim=-1))


@pytest.mark.parametrize('name', [*NECKS, *HEADS])
def test_necks_and_heads_build_with_each_flag_turned(name):
    choices = {flag: not default for flag, default in defaults(name).items() if isinstance(default, bool)}
    for kwargs in [{}, *({flag: value} for flag, value in choices.items())]:
        assert build(name, in_dims=dict(video=16, audio=16), **kwargs)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_head_learns_from_every_stream_and_predicts_probabilities(name):
    head = randomise(build(name, in_dims=dict(video=16, audio=8)))
    generator = torch.Generator().manual_seed(0)
    streams = dict(video=torch.randn(4, 16, generator=generator), audio=torch.randn(4, 8, generator=generator))
    samples = [AVDataSample() for _ in range(4)]
    for sample, index in zip(samples, (0, 1, 2, 4), strict=True):
        for part, each in head.parts.items():
            label = (index, 3) if each.multi_label else index
            sample.set_gt({part: label}, {part: each.num_classes})
    losses = head.loss(streams, head.targets(samples))
    total = sum(value for key, value in losses.items() if 'loss' in key)
    assert total.shape == () and total.isfinite()
    total.backward()
    assert_gradients_reach(head)
    scores = head.predict(streams)
    assert scores.keys() == head.parts.keys() == head.targets(samples).keys()
    for part, each in scores.items():
        assert each.shape == (4, head.parts[part].num_classes) and (each >= 0).all()
        if head.parts[part].multi_label:
            assert (each <= 1).all()
        else:
            torch.testing.assert_close(each.sum(-1), torch.ones(4))
    head.write(samples, scores)
    assert all(any(key.startswith('pred_') for key in sample.keys()) for sample in samples)  # noqa: SIM118


@pytest.mark.parametrize('name', LOGIT_LOSSES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_loss_is_finite_and_falls_along_its_gradient(name, dtype):
    loss = build(name)
    logits = (5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))).to(dtype).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    if loss.multi_label:
        target = torch.nn.functional.one_hot(target, 4) + torch.eye(6, 4)  # one or two of each clip
        target = target.clamp(max=1)
    value = loss(logits, target).mean()
    value.backward()
    assert value.isfinite() and logits.grad.isfinite().all()
    assert loss(logits.detach().float() - logits.grad.float(), target).mean() < value


def embeddings(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {m: torch.randn(6, 2, 16, generator=generator).to(dtype) for m in ('video', 'audio')}


@pytest.mark.parametrize('name', CONTRASTIVE_HEADS)
def test_contrastive_head_learns_from_every_modality(name):
    head = randomise(build(name, in_dims=dict(video=16, audio=16)))
    losses = head.loss(embeddings(), dict(label=torch.tensor([0, 1, 2, 3, 0, 1])))
    assert losses and all('loss' in key and value.shape == () for key, value in losses.items())
    sum(losses.values()).backward()
    assert_gradients_reach(head)
    assert_round_trip(
        lambda: build(name, in_dims=dict(video=16, audio=16)),
        lambda again: torch.stack(list(again.loss(embeddings(), dict(label=torch.arange(6))).values())),
    )


@pytest.mark.parametrize('name', CONTRASTIVE_LOSSES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_contrastive_loss_is_finite_and_falls_along_its_gradient(name, dtype):
    loss, clips = build(name), embeddings(dtype)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    value = sum(loss({m: x.requires_grad_() for m, x in clips.items()}, dict(label=target)).values())
    value.backward()
    assert value.isfinite() and all(x.grad.isfinite().all() and x.grad.any() for x in clips.values())
    moved = {m: x.detach().float() - 0.1 * x.grad.float() for m, x in clips.items()}
    assert sum(loss(moved, dict(label=target)).values()) < value


@pytest.mark.parametrize('name', CONTRASTIVE_LOSSES)
def test_contrastive_loss_knows_clips_by_content_not_by_place(name):
    loss, clips, order = build(name), embeddings(), torch.tensor([3, 0, 5, 1, 4, 2])
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    masks = {m: torch.tensor([1, 1, 0, 1, 1, 1]).bool() for m in clips}
    masked = {m: x[order] for m, x in masks.items()}
    found = loss({m: x[order] for m, x in clips.items()}, dict(label=target[order]), masked)
    torch.testing.assert_close(found, loss(clips, dict(label=target), masks))
    left_out = {m: x[masks[m]] for m, x in clips.items()}
    torch.testing.assert_close(loss(left_out, dict(label=target[masks['video']])), found)


TINY = dict(embed_dims=8, num_layers=2, num_heads=1, stage_blocks=(1,))
TWO = dict(
    video=dict(type='MViTv2', arch=TINY, input_size=(4, 16, 16)),
    audio=dict(type='MAT', arch=TINY, input_size=(16, 32), q_strides=[(1, 2)]),
)
# what an auxiliary part cannot do without: name -> arguments
NEEDED = {}


@pytest.fixture(scope='module', autouse=True)
def needed(tmp_path_factory):
    NEEDED['UnimodalTeachers'] = write_teachers(tmp_path_factory.mktemp('teachers'), TWO)


def make_auxiliary(name, auxiliary=None, head='ClsHead', neck='AVBottleneck'):
    """A model of two modalities with an auxiliary part, whose widths are filled in."""
    model = dict(
        type='AVClassifier',
        backbones=TWO,
        neck=dict(type=neck, **({} if neck == 'Avg' else dict(embed_dims=8, num_blocks=1, num_heads=2))),
        head={'type': head, **{k: v for k, v in SMALL.items() if k in defaults(head)}},
        auxiliary={} if name is None else dict(part={'type': name, **NEEDED.get(name, {}), **(auxiliary or {})}),
    )
    torch.manual_seed(0)
    model = MODELS.build(model)
    model.init_weights()
    return randomise(model).double()


def auxiliary_batch(head, soft=False, views=1):
    generator = torch.Generator().manual_seed(0)
    inputs = dict(
        video=torch.randn(4, views, 3, 4, 16, 16, generator=generator).double(),
        audio=torch.randn(4, 1, 1, 16, 32, generator=generator).double(),
    )
    samples = []
    for number in range(4):
        sample = AVDataSample()
        for part in head.parts:
            several = head.parts[part].multi_label
            sample.set_gt({part: (number, 0) if several else number}, {part: 5} if several else None)
            if soft:
                sample.set_gt_score(torch.full((5,), 0.2), part)
        samples.append(sample)
    return inputs, samples


AUXILIARY = registered('auxiliary')


@pytest.mark.parametrize('name', AUXILIARY)
@pytest.mark.parametrize('head', CLASSIFIERS)
@pytest.mark.parametrize(('soft', 'views'), [(False, 1), (True, 2)])
def test_auxiliary_part_gives_losses_that_reach_every_encoder(name, head, soft, views):
    model = make_auxiliary(name, head=head, neck='Avg')
    losses = model(*auxiliary_batch(model.head, soft, views), mode='loss')
    own = {key: value for key, value in losses.items() if key not in make_auxiliary(None, head=head)(
        *auxiliary_batch(model.head), mode='loss')}  # fmt: skip
    assert any('loss' in key for key in own) and all(v.shape == () and v.isfinite() for v in losses.values())
    sum(value for key, value in own.items() if 'loss' in key).backward()
    assert_gradients_reach(model.auxiliary['part'])
    for backbone in model.backbones.values():
        assert any(p.grad is not None and p.grad.any() for p in backbone.parameters())
    assert not any(parameter.grad is not None for parameter in model.head.parameters())


@pytest.mark.parametrize('name', AUXILIARY)
def test_auxiliary_part_leaves_out_what_a_clip_lacks(name):
    model = make_auxiliary(name)
    inputs, samples = auxiliary_batch(model.head)
    masks = dict(video=torch.ones(4).bool(), audio=torch.tensor([True, True, False, True]))
    first = model(inputs, samples, masks=masks, mode='loss')
    inputs['audio'][2] += 1.0
    torch.testing.assert_close(model(inputs, samples, masks=masks, mode='loss'), first)
    inputs['audio'][1] *= -3.0
    changed = model(inputs, samples, masks=masks, mode='loss')
    assert any(not torch.equal(changed[key], first[key]) for key in first if key not in ('loss_cls', 'top1'))


@pytest.mark.parametrize('name', AUXILIARY)
def test_auxiliary_part_is_not_needed_after_training(name):
    model, plain = make_auxiliary(name), make_auxiliary(None)
    load_weights(plain, model.state_dict(), 'trained.pth')
    inputs, _ = auxiliary_batch(model.head)
    torch.testing.assert_close(plain(inputs), model(inputs))
    again = make_auxiliary(name)
    again.load_state_dict(model.state_dict())
    batch = auxiliary_batch(model.head)
    torch.testing.assert_close(again(*batch, mode='loss'), model(*batch, mode='loss'))
