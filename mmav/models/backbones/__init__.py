"""Backbones: one modality in, :class:`~mmav.structures.Tokens` out."""

from mmav.models.backbones.mat import MAT
from mmav.models.backbones.mvit import MultiscaleTransformer, MViTv2

__all__ = ['MAT', 'MViTv2', 'MultiscaleTransformer']
