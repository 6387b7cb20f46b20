"""Heads: streams in; logits, losses and probabilities out."""

from mmav.models.heads.cls_head import ClsHead
from mmav.models.heads.contrastive_head import ContrastiveHead
from mmav.models.heads.multi_label_head import MultiLabelHead
from mmav.models.heads.verb_noun_head import VerbNounHead

__all__ = ['ClsHead', 'ContrastiveHead', 'MultiLabelHead', 'VerbNounHead']
