"""Necks: tokens of all modalities in, named streams (B, D) out."""

from mmav.models.necks.av_bottleneck import AVBottleneck
from mmav.models.necks.avg import Avg

__all__ = ['AVBottleneck', 'Avg']
