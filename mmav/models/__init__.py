"""Models; importing this package fills the registry of models."""

from importlib import import_module
from typing import Any

from mmav.models.auxiliary import TrainingBatch, UnimodalHeads, UnimodalTeachers
from mmav.models.av_classifier import AVClassifier
from mmav.models.backbones import AST, MAT, Backbone, ConvEncoder, Hiera, MViTv2, PerFrame, TimmBackbone, ViT
from mmav.models.cached_backbone import CachedBackbone
from mmav.models.data_preprocessor import AVDataPreprocessor
from mmav.models.heads import ClsHead, ContrastiveHead, MultiLabelHead, VerbNounHead
from mmav.models.losses import (
    ALLoss,
    AsymmetricLoss,
    AVCLoss,
    BCELoss,
    CrossEntropyLoss,
    FocalLoss,
    IMALLoss,
    IMCLoss,
)
from mmav.models.mixup_cutmix import MixupCutmix
from mmav.models.necks import AVBottleneck, Avg, Concat, MergedAttention
from mmav.models.token_mixup import TokenMixup

__all__ = [
    'AST',
    'MAT',
    'ALLoss',
    'AVBottleneck',
    'AVCLoss',
    'AVClassifier',
    'AVDataPreprocessor',
    'AsymmetricLoss',
    'Avg',
    'BCELoss',
    'Backbone',
    'CachedBackbone',
    'ClsHead',
    'Concat',
    'ContrastiveHead',
    'ConvEncoder',
    'CrossEntropyLoss',
    'FocalLoss',
    'Hiera',
    'IMALLoss',
    'IMCLoss',
    'MViTv2',
    'MergedAttention',
    'MixupCutmix',
    'MultiLabelHead',
    'PerFrame',
    'TimmBackbone',
    'TokenMixup',
    'TrainingBatch',
    'UnimodalHeads',
    'UnimodalTeachers',
    'VerbNounHead',
    'ViT',
]


def __getattr__(name: str) -> Any:
    if name == 'PublicWeights':  # on first use, as it brings the reading of files along
        return import_module('mmav.models.weights').PublicWeights
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
