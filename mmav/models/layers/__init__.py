"""Layers shared by the backbones and necks."""

from mmav.models.layers.multiscale_block import MultiscaleAttention, MultiscaleBlock, RelativePosition
from mmav.models.layers.patch_embed import PatchEmbed
from mmav.models.layers.pooling import TokenPool
from mmav.models.layers.transformer_block import MLP, SelfAttention, TransformerBlock

# What counts as a block of an encoder or neck for activation checkpointing, FSDP, the memory plan and visualization.
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
