"""What a user's own program calls: a trained model on files and arrays."""

from mmav.apis.inferencer import AVInferencer

__all__ = ['AVInferencer']
