import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmav.config.check import find_problems
from mmav.errors import MmavError
from mmav.evaluation.kept_features import FeatureMetric
from mmav.structures import AVDataSample


class Sums(FeatureMetric):
    def measure(self, features, labels, paths):
        self.seen = features, labels, paths
        return {name: float(values.sum()) for name, values in features.items()}


def sample(path, label=0, broken=None, part='label', **features):
    made = AVDataSample(metainfo=dict(path=path, broken=broken)).set_gt_label(label, part)
    made.set_feature(torch.zeros(3)).set_features({name: torch.tensor(value) for name, value in features.items()})
    return made.to_dict()


def test_clips_with_every_feature_are_measured(caplog):
    metric = Sums(['audio', 'video'], prefix='x')
    metric.process(None, [sample('a', 4, audio=[1.0], video=[1.0, 2.0]), sample('b', audio=[1.0])])
    metric.process(None, [sample('c', broken='torn', audio=[1.0], video=[1.0, 2.0])])
    metric.process(None, [sample('d', 2, audio=[5.0], video=[0.0, 1.0]), sample('e', audio=[np.nan], video=[0.0, 0.0])])
    assert metric.evaluate(5) == {'x/audio': 6, 'x/video': 4}
    features, labels, paths = metric.seen
    assert features['video'].shape == (2, 2) and labels.tolist() == [4, 2] and paths == ['a', 'd']


def test_the_last_layers_input_and_the_label_of_a_part():
    metric = Sums(part='verb')
    metric.process(None, [sample('a', 1, part='verb')])
    assert metric.evaluate(1) == dict(feature=0) and metric.seen[1].tolist() == [1] and metric.parts == ('verb',)


def test_mistakes():
    with pytest.raises(MmavError, match=r'Sums needs features: set model\.keep_features=True'):
        Sums().process(None, [AVDataSample().set_gt_label(1).to_dict()])
    metric = Sums(['vidio'])
    metric.process(None, [sample('a', video=[1.0])])
    with pytest.raises(MmavError, match="no clip has the feature 'vidio', only video, feature, did you mean 'video'"):
        metric.evaluate(1)
    metric = Sums(['video'])
    metric.process(None, [sample('a', broken='torn', video=[1.0])])
    with pytest.raises(MmavError, match='Sums: no clip has the features video'):
        metric.evaluate(1)
    for features in ('audio', ()):
        with pytest.raises(ValueError, match='give a list of names'):
            Sums(features)


@pytest.mark.parametrize('evaluator', [dict(type='KNN'), [dict(type='Accuracy'), dict(type='KNN')]])
def test_a_config_must_keep_what_its_metrics_read(evaluator):
    model = dict(
        type='AVClassifier',
        backbones=dict(audio=dict(type='MAT')),
        neck=dict(type='Avg'),
        head=dict(type='ClsHead', num_classes=3),
    )
    dataloader = dict(batch_size=1, dataset=dict(type='AVDataset', ann_file='a.csv', pipeline=[]), sampler={})
    stage = dict(val_cfg={}, val_dataloader=dataloader, val_evaluator=evaluator)
    told = 'val_evaluator: KNN needs features: set model.keep_features=True'
    assert told in list(find_problems(Config(dict(model=model, **stage))))
    assert told not in list(find_problems(Config(dict(model=dict(model, keep_features=True), **stage))))
