import pytest
import torch

from mmav.errors import MmavError
from mmav.evaluation import UnimodalAccuracy
from tests.engine.hooks.test_modulation import make_batch, make_model


def sample(video, audio, label=0, **more):
    alone = {'video/label': video, 'audio/label': audio}
    return dict(gt_label=torch.tensor(label), alone={k: torch.tensor(v) for k, v in alone.items() if v}, **more)


def test_each_modality_counts_the_clips_that_have_it():
    metric = UnimodalAccuracy(topk=(1, 2))
    metric.process(None, [sample([0.7, 0.2, 0.1], [0.2, 0.3, 0.5]), sample([0.3, 0.6, 0.1], None)])
    metric.process(None, [sample([0.1, 0.8, 0.1], [0.9, 0.1, 0.0], broken='torn')])
    found = metric.compute_metrics(metric.results)
    assert found == {'video/top1': 0.5, 'video/top2': 1.0, 'audio/top1': 0.0, 'audio/top2': 0.0}


def test_verbs_and_nouns():
    metric = UnimodalAccuracy()
    alone = {'video/verb': torch.tensor([0.1, 0.9]), 'video/noun': torch.tensor([0.1, 0.9])}
    metric.process(None, [dict(gt_verb=torch.tensor(1), gt_noun=torch.tensor(0), alone=alone)])
    assert metric.compute_metrics(metric.results) == {'video/verb_top1': 1.0, 'video/noun_top1': 0.0}


def test_a_model_that_does_not_say_it():
    with pytest.raises(MmavError, match=r"auxiliary=dict\(alone=dict\(type='UnimodalHeads', in_testing=True\)\)"):
        UnimodalAccuracy().process(None, [dict(gt_label=torch.tensor(0))])


def test_a_model_writes_what_each_of_its_heads_gives():
    model = make_model(auxiliary=dict(alone=dict(type='UnimodalHeads', in_testing=True))).eval()
    batch = make_batch(masks=dict(video=torch.ones(4).bool(), audio=torch.tensor([True, False, True, True])))
    batch['inputs']['video'] = torch.cat([batch['inputs']['video'], batch['inputs']['video'].flip(0)], dim=1)
    with torch.no_grad():
        samples = model(**batch, mode='predict')
        tokens, views = model.encode(batch['inputs'])
        heads = model.auxiliary['alone'].heads
        logits = heads['video'].fcs['video'](tokens['video'].cls)
        expected = logits.softmax(-1).unflatten(0, (-1, views)).mean(1)
    for i, each in enumerate(samples):
        torch.testing.assert_close(each.alone['video/label'].double(), expected[i], rtol=1e-5, atol=1e-5)
        assert ('audio/label' in each.alone) == bool(batch['masks']['audio'][i])
    metric = UnimodalAccuracy()
    metric.process(None, [each.to_dict() for each in samples])
    assert set(metric.compute_metrics(metric.results)) == {'video/top1', 'audio/top1'}
