import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from mmav.errors import MmavError
from mmav.evaluation import ClusterMetrics
from mmav.evaluation.clustering import cluster_metrics
from mmav.structures import AVDataSample


def points(spread=1.0, number=90):
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 3
    return (3 * np.eye(3, 6)[labels] + spread * rng.standard_normal((number, 6))).astype(np.float32), labels


def sample(feature, label, broken=None, part='label'):
    made = AVDataSample(metainfo=dict(path='a.mp4', broken=broken)).set_gt_label(int(label), part)
    return made.set_feature(torch.as_tensor(feature)).to_dict()


@pytest.mark.parametrize('clusters', [None, 4])
def test_equals_scikit_learn(clusters):
    features, labels = points()
    found = KMeans(clusters or 3, n_init=10, random_state=5).fit_predict(features)
    expected = dict(ari=adjusted_rand_score(labels, found), homogeneity=homogeneity_score(labels, found))
    assert 0.1 < expected['ari'] < 0.95
    metric = ClusterMetrics(clusters, seed=5)
    for feature, label in zip(features, labels, strict=True):
        metric.process(None, [sample(feature, label)])
    assert metric.evaluate(len(labels)) == pytest.approx(expected)
    assert cluster_metrics(features, labels, clusters, seed=5) == pytest.approx(expected)


def test_the_seed_decides_where_one_start_is_not_enough():
    features, labels = points(spread=3.0)
    results = [cluster_metrics(features, labels, 6, seed=seed, repeats=1)['ari'] for seed in range(4)]
    found = [KMeans(6, n_init=1, random_state=seed).fit_predict(features) for seed in range(4)]
    assert results == [pytest.approx(adjusted_rand_score(labels, clusters)) for clusters in found]
    assert len(set(results)) > 1


def test_clear_clusters_are_found_whatever_their_names():
    features, labels = points(spread=0.01)
    assert cluster_metrics(features, (labels + 1) % 3) == dict(ari=1.0, homogeneity=pytest.approx(1.0))
    shuffled = np.random.default_rng(0).permutation(labels)
    assert abs(cluster_metrics(features, shuffled)['ari']) < 0.1


def test_broken_clips_are_left_out_and_another_label_may_be_asked_for():
    features, labels = points(spread=0.01, number=12)
    metric = ClusterMetrics(part='verb', prefix='test')
    batch = [sample(feature, label, part='verb') for feature, label in zip(features, labels, strict=True)]
    metric.process(None, [*batch, sample(features[0], 2, broken='torn', part='verb')])
    assert metric.evaluate(13)['test/ari'] == 1


def test_mistakes():
    with pytest.raises(MmavError, match='needs features: set model.keep_features=True'):
        ClusterMetrics().process(None, [AVDataSample().set_gt_label(1).to_dict()])
    with pytest.raises(MmavError, match='2 clips with a feature cannot make 3 clusters'):
        cluster_metrics(np.zeros((2, 4)), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match='num_clusters must be a positive number, got 0'):
        ClusterMetrics(0)
