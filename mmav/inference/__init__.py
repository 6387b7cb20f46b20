"""A trained model on files and arrays."""

from mmav.inference.inferencer import AVInferencer

__all__ = ['AVInferencer']
