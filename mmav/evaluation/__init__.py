"""Metrics, and predictions as files."""

from mmav.evaluation.accuracy import Accuracy
from mmav.evaluation.action_accuracy import ActionAccuracy
from mmav.evaluation.clustering import ClusterMetrics
from mmav.evaluation.predictions import DumpPredictions

__all__ = ['Accuracy', 'ActionAccuracy', 'ClusterMetrics', 'DumpPredictions']
