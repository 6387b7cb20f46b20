import pytest
import torch

from mmav.errors import ConfigError
from mmav.models.views import VIEW_AVERAGES, count_views, encode_in_chunks
from mmav.registry import MODELS
from mmav.structures import AVDataSample, Tokens
from tests.models.test_av_classifier import AUDIO, VIDEO

HEADS = dict(
    one=dict(type='ClsHead', num_classes=5),
    geometric=dict(type='ClsHead', num_classes=5, average='geometric'),
    any=dict(type='MultiLabelHead', num_classes=5),
    any_geometric=dict(type='MultiLabelHead', num_classes=5, average='geometric'),
    several=dict(type='VerbNounHead', num_verbs=4, num_nouns=6),
)
NECKS = dict(fused=dict(type='AVBottleneck', embed_dims=16, num_blocks=1, num_heads=2), late=dict(type='Avg'))
MASKS = dict(video=torch.tensor([True, True, False]), audio=torch.tensor([True, False, True]))


def make(head='one', neck='late', **settings):
    torch.manual_seed(0)
    config = dict(backbones=dict(video=VIDEO, audio=AUDIO), neck=NECKS[neck], head=HEADS[head])
    model = MODELS.build(dict(type='AVClassifier', **config, **settings))
    model.init_weights()
    for parameter in model.head.parameters():  # as from training, not the small ones at its start
        torch.nn.init.normal_(parameter)
    return model.eval()


def make_inputs(video=6, audio=2):
    generator = torch.Generator().manual_seed(0)
    return dict(
        video=torch.randn(3, video, 3, 4, 16, 16, generator=generator),
        audio=torch.randn(3, audio, 1, 16, 32, generator=generator),
    )


def view(inputs, v):
    """View v alone, of V views of video, with the view of audio of the same time."""
    most = max(x.shape[1] for x in inputs.values())
    return {name: x[:, v * x.shape[1] // most :][:, :1] for name, x in inputs.items()}


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize('neck', NECKS)
@pytest.mark.parametrize('average', VIEW_AVERAGES)
@torch.no_grad()
def test_views_are_averaged_as_if_each_were_run_alone(head, neck, average):
    inputs, model = make_inputs(), make(head, neck, view_average=average)
    assert set(model(inputs, masks=MASKS)) == set(model.head.parts)
    alone = [view(inputs, v) for v in range(6)]
    if average == 'probabilities':
        each = [model(one, masks=MASKS) for one in alone]
        expected = {part: torch.stack([scores[part] for scores in each]).mean(0) for part in each[0]}
    else:
        # by the published order: logits of every view and stream, their mean over views, then the head's own average
        expected = {}
        for part, own in model.head.parts.items():
            each = [own(model.neck(model.encode(one)[0], MASKS)) for one in alone]
            logits = {name: torch.stack([values[name] for values in each]).mean(0) for name in each[0]}
            expected[part] = own.scores(logits, MASKS)
    torch.testing.assert_close(model(inputs, masks=MASKS), expected)


def test_averages_differ():
    scores = [make(view_average=average)(make_inputs())['label'] for average in VIEW_AVERAGES]
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_one_view_has_one_average():
    scores = [make(view_average=average)(make_inputs(1, 1))['label'] for average in VIEW_AVERAGES]
    torch.testing.assert_close(*scores)


def test_equal_views_of_sound_are_encoded_once():
    """Audio of V_a windows goes with V_v / V_a crops of each: as if the windows were repeated, crops fastest."""
    model, inputs, batches = make(), make_inputs(), []
    model.backbones['audio'].register_forward_pre_hook(lambda module, args: batches.append(args[0].shape[0]))
    shared = model(inputs)
    assert batches == [3 * 2]
    repeated = dict(inputs, audio=inputs['audio'][:, [0, 0, 0, 1, 1, 1]])
    torch.testing.assert_close(model(repeated), shared)
    assert batches == [3 * 2, 3 * 6]


@pytest.mark.parametrize('average', VIEW_AVERAGES)
@pytest.mark.parametrize('views', [(6, 2), (6, 1), (6, 6), (2, 6)], ids=str)
@torch.no_grad()
def test_a_few_views_at_a_time_give_the_same(average, views):
    model, inputs = make('several', 'fused', view_average=average, keep_features=True), make_inputs(*views)
    samples = [[AVDataSample() for _ in range(3)] for _ in range(6)]
    expected = model(inputs, samples[0], MASKS, mode='predict')
    for step in range(1, 6):
        model.view_batch = step
        for one, other in zip(expected, model(inputs, samples[step], MASKS, mode='predict'), strict=True):
            for name in ('pred_verb_score', 'pred_noun_score', 'feature', 'features'):
                torch.testing.assert_close(one.get(name), other.get(name))


@pytest.mark.parametrize('step', [1, 2, 4])
@torch.no_grad()
def test_a_few_views_at_a_time_are_each_encoded_once(step):
    model, seen = make(view_batch=step), dict(video=[], audio=[])
    for name, batches in seen.items():
        model.backbones[name].register_forward_pre_hook(lambda _, args, batches=batches: batches.append(len(args[0])))
    model(make_inputs())
    assert max(seen['video']) == 3 * step and max(seen['audio']) <= 3 * step
    assert sum(seen['video']) == 3 * 6 and sum(seen['audio']) == 3 * 2


def test_gradients_are_recorded_of_all_views_at_once():
    model, calls = make(view_batch=1), []
    model.neck.register_forward_hook(lambda *_: calls.append(1))
    model(make_inputs())
    with torch.no_grad():
        model(make_inputs())
    assert len(calls) == 1 + 6


def test_training_pairs_views_and_compares_each_view_of_sound_once():
    torch.manual_seed(0)
    model, seen = make(contrast=dict(type='ContrastiveHead', embed_dims=5, losses=[dict(type='AVCLoss')])), {}
    loss = model.contrast.loss
    model.contrast.loss = lambda classes, *rest: seen.update(classes) or loss(classes, *rest)
    inputs, samples = make_inputs(4, 2), [AVDataSample().set_gt_label(k) for k in range(3)]
    model(inputs, samples, mode='loss')
    assert {name: value.shape[1] for name, value in seen.items()} == dict(video=4, audio=2)
    each = [model.encode({name: x[:, :1] for name, x in inputs.items()}), model.encode(view(inputs, 2))]
    for v, (tokens, _) in enumerate(each):
        torch.testing.assert_close(seen['audio'][:, v], tokens['audio'].cls)


def test_numbers_of_views_that_do_not_divide_are_refused():
    assert count_views(make_inputs(6, 3)) == 6 and count_views(make_inputs(1, 4)) == 4
    with pytest.raises(ConfigError, match=r'audio has 4 views, video 6: .* multiple'):
        count_views(make_inputs(6, 4))


def test_chunks_hand_on_what_is_shared():
    x = dict(video=torch.arange(5.0).expand(2, 5)[..., None], audio=torch.tensor([[7.0], [8.0]])[..., None])
    chunks = list(encode_in_chunks(lambda _, each: Tokens(each, each[:, None], (1,)), x, 2))
    assert [number for _, number in chunks] == [2, 2, 1]
    assert torch.cat([tokens['video'].cls.view(2, -1) for tokens, _ in chunks], 1).tolist() == 2 * [[0, 1, 2, 3, 4]]
    assert torch.cat([tokens['audio'].cls.view(2, -1) for tokens, _ in chunks], 1).tolist() == [5 * [7.0], 5 * [8.0]]
    assert chunks[0][0]['audio'].patches.shape == (4, 1, 1)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="view_average='logit' is unknown.*did you mean"):
        make(view_average='logit')
    for number in (0, -1, 1.5):
        with pytest.raises(ValueError, match='view_batch'):
            make(view_batch=number)


def test_logits_need_linear_layers():
    from mmav.models import ClsHead

    class Deep(ClsHead):
        def forward(self, streams):
            return {name: value.tanh() for name, value in super().forward(streams).items()}

    config = dict(backbones=dict(video=VIDEO), neck=dict(type='Avg'), head=dict(type=Deep, num_classes=5))
    MODELS.build(dict(type='AVClassifier', **config))
    with pytest.raises(ConfigError, match="view_average='logits' needs a head of linear layers.*Deep"):
        MODELS.build(dict(type='AVClassifier', **config, view_average='logits'))
