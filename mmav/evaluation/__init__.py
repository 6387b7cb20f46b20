"""Metrics, and predictions as files."""

from mmav.evaluation.accuracy import Accuracy
from mmav.evaluation.predictions import DumpPredictions

__all__ = ['Accuracy', 'DumpPredictions']
