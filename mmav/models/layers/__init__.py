"""Layers shared by the backbones and necks."""

from mmav.models.layers.multiscale_block import MultiscaleAttention, MultiscaleBlock, RelativePosition
from mmav.models.layers.patch_embed import PatchEmbed
from mmav.models.layers.pooling import TokenPool
from mmav.models.layers.transformer_block import MLP, SelfAttention, TransformerBlock

# What activation checkpointing, FSDP, the memory plan and visualization take as a block of an encoder or neck.
BLOCKS = (MultiscaleBlock, TransformerBlock)

__all__ = [
    'BLOCKS',
    'MLP',
    'MultiscaleAttention',
    'MultiscaleBlock',
    'PatchEmbed',
    'RelativePosition',
    'SelfAttention',
    'TokenPool',
    'TransformerBlock',
]
