"""Weights of public checkpoints."""

from mmav.models.weights.public_weights import LoadReport, PublicWeights, load_public_weights
from mmav.models.weights.uses import weight_problems

__all__ = ['LoadReport', 'PublicWeights', 'load_public_weights', 'weight_problems']
