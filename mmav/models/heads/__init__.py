"""Heads: streams in; logits, losses and probabilities out."""

from mmav.models.heads.cls_head import ClsHead

__all__ = ['ClsHead']
