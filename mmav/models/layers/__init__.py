"""Layers shared by the backbones and necks."""

from mmav.models.layers.multiscale_block import MultiscaleAttention, MultiscaleBlock, RelativePosition
from mmav.models.layers.patch_embed import PatchEmbed
from mmav.models.layers.pooling import TokenPool
from mmav.models.layers.transformer_block import MLP, SelfAttention, TransformerBlock

__all__ = [
    'MLP',
    'MultiscaleAttention',
    'MultiscaleBlock',
    'PatchEmbed',
    'RelativePosition',
    'SelfAttention',
    'TokenPool',
    'TransformerBlock',
]
