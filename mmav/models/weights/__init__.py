"""Weights of public checkpoints."""

from mmav.models.weights.hf_weights import HFWeights
from mmav.models.weights.public_weights import LoadReport, PublicWeights, load_public_weights
from mmav.models.weights.timm_weights import TimmWeights
from mmav.models.weights.uses import weight_problems

__all__ = ['HFWeights', 'LoadReport', 'PublicWeights', 'TimmWeights', 'load_public_weights', 'weight_problems']
