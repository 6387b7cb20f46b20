"""Weights of public checkpoints."""

from mmav.models.weights.public_weights import LoadReport, PublicWeights, load_public_weights

__all__ = ['LoadReport', 'PublicWeights', 'load_public_weights']
