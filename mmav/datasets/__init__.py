"""Data: manifests, media readers, transforms and the dataset over them."""

from __future__ import annotations

from mmav.class_names import read_classes

from . import transforms
from .av_dataset import AVDataset
from .collate import av_collate
from .manifest import Manifest, ManifestRow, read_manifest
from .resumable_sampler import ResumableSampler
from .wrappers import ClassBalancedDataset, RepeatDataset

__all__ = [
    'AVDataset',
    'ClassBalancedDataset',
    'Manifest',
    'ManifestRow',
    'RepeatDataset',
    'ResumableSampler',
    'av_collate',
    'read_classes',
    'read_manifest',
    'transforms',
]
