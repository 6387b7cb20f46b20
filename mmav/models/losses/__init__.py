"""Losses: functions of embeddings and labels."""

from mmav.models.losses.binary import BCELoss
from mmav.models.losses.contrastive import ALLoss, AVCLoss, IMALLoss, IMCLoss
from mmav.models.losses.cross_entropy import CrossEntropyLoss
from mmav.models.losses.focusing import AsymmetricLoss, FocalLoss

__all__ = ['ALLoss', 'AVCLoss', 'AsymmetricLoss', 'BCELoss', 'CrossEntropyLoss', 'FocalLoss', 'IMALLoss', 'IMCLoss']
