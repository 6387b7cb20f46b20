"""Models; importing this package fills the registry of models."""

from mmav.models.av_classifier import AVClassifier
from mmav.models.backbones import MAT, MViTv2
from mmav.models.data_preprocessor import AVDataPreprocessor, MixupCutmix
from mmav.models.heads import ClsHead
from mmav.models.losses import CrossEntropyLoss
from mmav.models.necks import AVBottleneck, Avg

__all__ = [
    'MAT',
    'AVBottleneck',
    'AVClassifier',
    'AVDataPreprocessor',
    'Avg',
    'ClsHead',
    'CrossEntropyLoss',
    'MViTv2',
    'MixupCutmix',
]
