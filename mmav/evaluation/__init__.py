"""Metrics, and predictions as files."""

from mmav.evaluation.accuracy import Accuracy
from mmav.evaluation.action_accuracy import ActionAccuracy
from mmav.evaluation.clustering import ClusterMetrics
from mmav.evaluation.dump import DumpPredictions
from mmav.evaluation.knn import KNN
from mmav.evaluation.linear_probe import LinearProbe
from mmav.evaluation.multi_label import MultiLabelMetric
from mmav.evaluation.retrieval import Retrieval
from mmav.evaluation.unimodal_accuracy import UnimodalAccuracy
from mmav.evaluation.vggsounder_metric import VGGSounder

__all__ = [
    'KNN',
    'Accuracy',
    'ActionAccuracy',
    'ClusterMetrics',
    'DumpPredictions',
    'LinearProbe',
    'MultiLabelMetric',
    'Retrieval',
    'UnimodalAccuracy',
    'VGGSounder',
]
