"""mmav: audio-video classification in the OpenMMLab manner."""

__version__ = '0.1.0'
