"""What a user's own program calls: a trained model on files and arrays."""

from mmav.inference import AVInferencer

__all__ = ['AVInferencer']
