"""Necks: tokens of all modalities in, named streams (B, D) out."""

from mmav.models.necks.av_bottleneck import AVBottleneck
from mmav.models.necks.late_fusion import Avg, Concat
from mmav.models.necks.merged_attention import MergedAttention

__all__ = ['AVBottleneck', 'Avg', 'Concat', 'MergedAttention']
