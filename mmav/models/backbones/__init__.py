"""Backbones: one modality in, :class:`~mmav.structures.Tokens` out."""

from mmav.models.backbones.ast import AST, PlainTransformer
from mmav.models.backbones.base import Backbone
from mmav.models.backbones.conv_encoder import ConvEncoder
from mmav.models.backbones.hf import HFBackbone
from mmav.models.backbones.hiera import Hiera
from mmav.models.backbones.mat import MAT
from mmav.models.backbones.mvit import MultiscaleTransformer, MViTv2
from mmav.models.backbones.per_frame import PerFrame
from mmav.models.backbones.timm_backbone import TimmBackbone
from mmav.models.backbones.vit import ViT

__all__ = [
    'AST',
    'MAT',
    'Backbone',
    'ConvEncoder',
    'HFBackbone',
    'Hiera',
    'MViTv2',
    'MultiscaleTransformer',
    'PerFrame',
    'PlainTransformer',
    'TimmBackbone',
    'ViT',
]
