import numpy as np
import pytest
import torch

from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED, Encoded, Encoder, modalities_of
from mmav.errors import ConfigError
from mmav.models import AVClassifier
from mmav.structures import AVDataSample
from tests.analysis.modality_report.worlds import BOTTLENECK

NECKS = [
    dict(type='Avg'),
    dict(type='Concat'),
    BOTTLENECK,
    dict(type='MergedAttention', embed_dims=8, num_blocks=1, num_heads=2),
]


def model_of(neck, **options):
    torch.manual_seed(0)
    one = dict(type='CachedBackbone', out_dims=8, grid=(2, 3))
    head = dict(type='ClsHead', num_classes=5)
    model = AVClassifier(dict(audio=one, video=one), neck, head, **options)
    model.init_weights()
    return model.eval()


def batch_of(number=6, views=(2, 1)):
    rng = torch.Generator().manual_seed(1)
    inputs = {
        name: torch.randn(number, v, 7, 8, generator=rng) for name, v in zip(('video', 'audio'), views, strict=True)
    }
    masks = {name: torch.ones(number, dtype=torch.bool) for name in inputs}
    if number == 6:
        masks['video'][[2, 5]] = masks['audio'][[3, 5]] = False
    samples = [
        AVDataSample(metainfo=dict(path=f'{k}.mp4', start=0.0, end=1.0, sample_idx=k, broken=why)).set_gt_label(k % 5)
        for k, why in enumerate([None] * 5 + ['torn'])
    ][:number]
    return dict(inputs=inputs, masks=masks, data_samples=samples)


@pytest.mark.parametrize('neck', NECKS, ids=lambda neck: neck['type'])
def test_conditions_are_those_of_the_model(neck):
    """Fused from tokens that were encoded once, the scores are those of the model's own pass with masks."""
    model, batch = model_of(neck), batch_of()
    with torch.inference_mode():
        encoded = Encoder(model).encode(batch)
        found = encoded.conditions([2, 2, 2], np.random.default_rng(0), batch=4)
        for name in (BOTH, 'video', 'audio'):
            masks = {
                each: mask & (name in (BOTH, each)) for each, mask in batch['masks'].items()
            }  # fmt: skip
            expected = model(batch['inputs'], masks=masks)['label'].numpy()
            for k, row in enumerate(found[name]):
                if k == 5:
                    assert row['broken'] == 'torn'
                elif masks['video'][k] or masks['audio'][k]:
                    assert row['broken'] is None
                    np.testing.assert_allclose(row['scores']['label'], expected[k], atol=1e-6)
                else:
                    assert row['broken'] == f'has no {name}'
                assert (row['label'], row['path'], row['sample_idx']) == (dict(label=k % 5), f'{k}.mp4', k)
        for name in (SHUFFLED, SAME):
            rows = {k: row for k, row in enumerate(found[name]) if row is not None}
            # clips 2, 3 and 5 lack something; 4 has no twin that can be used
            assert list(rows) == ([0, 1, 4] if name == SHUFFLED else [0, 1])
            for k, row in rows.items():
                other = int(row['partner'].split('.')[0])
                assert other != k and other in (0, 1, 4) and row['partner_label'] == dict(label=other % 5)
                inputs = {
                    'video': batch['inputs']['video'][k : k + 1],
                    'audio': batch['inputs']['audio'][other : other + 1],
                }
                np.testing.assert_allclose(row['scores']['label'], model(inputs)['label'][0].numpy(), atol=1e-6)


def test_batches_are_joined():
    model, batch = model_of(BOTTLENECK), batch_of()
    encoder = Encoder(model)
    halves = [
        dict(
            inputs={name: x[part] for name, x in batch['inputs'].items()},
            masks={name: x[part] for name, x in batch['masks'].items()},
            data_samples=batch['data_samples'][part],
        )
        for part in (slice(4), slice(4, 6))
    ]
    with torch.inference_mode():
        whole = encoder.encode(batch).conditions([6], np.random.default_rng(0), batch=6)
        joined = Encoded.joined([encoder.encode(half) for half in halves])
        again = joined.conditions([6], np.random.default_rng(0), batch=3)
    for name, rows in whole.items():
        for one, two in zip(rows, again[name], strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_allclose(one['scores']['label'], two['scores']['label'], atol=1e-6)


def test_only_what_the_neck_reads_is_kept():
    batch = batch_of()
    sizes = {
        neck['type']: Encoder(model_of(neck)).encode(batch).bytes_per_clip for neck in (dict(type='Concat'), BOTTLENECK)
    }
    assert sizes == dict(Concat=3 * 8 * 4, AVBottleneck=7 * 3 * 8 * 4)


def test_a_neck_that_takes_no_notice_of_masks_gets_blanks():
    """What is withheld is not there, whatever the neck does with masks."""
    model, batch = model_of(dict(type='Concat')), batch_of(2)
    forward = model.neck.forward
    model.neck.forward = lambda tokens, masks=None: forward(tokens)
    with torch.inference_mode():
        found = Encoder(model).encode(batch).conditions([2], np.random.default_rng(0), batch=2)
        inputs = dict(batch['inputs'], audio=torch.zeros_like(batch['inputs']['audio']))
        expected = model(inputs)['label'].numpy()
    np.testing.assert_allclose([row['scores']['label'] for row in found['video']], expected, atol=1e-6)


def test_sets_of_labels_stay_sets():
    batch = batch_of(2)
    for k, sample in enumerate(batch['data_samples']):
        del sample.gt_label
        sample.set_gt_labels([0, 3] if k else [], 5)
        sample.set_metainfo(dict(multi_label=True))
    with torch.inference_mode():
        found = Encoder(model_of(dict(type='Avg'))).encode(batch).conditions([2], np.random.default_rng(0), batch=2)
    assert [row['label'] for row in found[BOTH]] == [dict(label=()), dict(label=(0, 3))]
    assert found[SHUFFLED][0]['partner_label'] == dict(label=(0, 3))


def test_two_modalities_are_needed():
    assert (
        modalities_of(dict(audio=1, video=2)) == modalities_of(dict(video=1, audio=2, other=None)) == ('video', 'audio')
    )
    assert modalities_of(dict(video=1, depth=2)) == ('video', 'depth')
    with pytest.raises(ConfigError, match='the model has one modality, audio: a modality report needs two'):
        modalities_of(dict(audio=1, video=None))
    with pytest.raises(ConfigError, match='the model has 3 modalities, a, b, c'):
        modalities_of(dict(a=1, b=1, c=1))
