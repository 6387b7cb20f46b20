"""Losses: functions of embeddings and labels."""

from mmav.models.losses.contrastive import ALLoss, AVCLoss, IMALLoss, IMCLoss
from mmav.models.losses.cross_entropy import CrossEntropyLoss

__all__ = ['ALLoss', 'AVCLoss', 'CrossEntropyLoss', 'IMALLoss', 'IMCLoss']
