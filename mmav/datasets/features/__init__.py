"""Features on disk: what frozen encoders make of each clip, stored once, and the dataset that trains on them."""

from mmav.datasets.features.dataset import FeatureDataset
from mmav.datasets.features.index import FeatureIndex, StoredModality, read_index
from mmav.datasets.features.store import FeatureStore
from mmav.datasets.features.writer import write_features

__all__ = ['FeatureDataset', 'FeatureIndex', 'FeatureStore', 'StoredModality', 'read_index', 'write_features']
