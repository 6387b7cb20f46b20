"""Losses: functions of embeddings and labels."""

from mmav.models.losses.cross_entropy import CrossEntropyLoss

__all__ = ['CrossEntropyLoss']
