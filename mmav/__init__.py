"""mmav: audio-video classification in the OpenMMLab manner."""

from mmav.threads import wait_briefly

__version__ = '0.2.0'

wait_briefly()  # has an effect only before PyTorch is imported
