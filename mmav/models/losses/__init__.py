"""Losses: functions of embeddings and labels."""

from mmav.models.losses.binary import BCELoss
from mmav.models.losses.contrastive import ALLoss, AVCLoss, IMALLoss, IMCLoss
from mmav.models.losses.cross_entropy import CrossEntropyLoss

__all__ = ['ALLoss', 'AVCLoss', 'BCELoss', 'CrossEntropyLoss', 'IMALLoss', 'IMCLoss']
