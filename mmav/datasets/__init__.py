"""Data: manifests, media readers, transforms and the dataset over them."""

from __future__ import annotations

from mmav.class_names import read_classes
from mmav.datasets import transforms
from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.class_balanced_sampler import ClassBalancedSampler
from mmav.datasets.collate import av_collate
from mmav.datasets.epoch_samplers import ShuffledSampler
from mmav.datasets.features import FeatureDataset, FeatureStore
from mmav.datasets.manifest import Manifest, ManifestRow, read_manifest
from mmav.datasets.resumable_sampler import ResumableSampler
from mmav.datasets.shards.sampler import ShardSampler
from mmav.datasets.wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset

__all__ = [
    'AVDataset',
    'ClassBalancedDataset',
    'ClassBalancedSampler',
    'ConcatDataset',
    'FeatureDataset',
    'FeatureStore',
    'Manifest',
    'ManifestRow',
    'RepeatDataset',
    'ResumableSampler',
    'ShardSampler',
    'ShuffledSampler',
    'av_collate',
    'read_classes',
    'read_manifest',
    'transforms',
]
