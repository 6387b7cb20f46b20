"""The steps from a file to the tensors of one clip, one module a step."""

from __future__ import annotations

from .audio_views import AudioViews
from .color_jitter import ColorJitter
from .flip import RandomFlip
from .load_clip import LoadClip
from .log_mel import LogMel
from .pack import PackAVInputs
from .rand_augment import RandAugment
from .random_erasing import RandomErasing
from .resize import CenterCrop, RandomResizedCrop, Resize
from .spec_augment import SpecAugment

__all__ = [
    'AudioViews',
    'CenterCrop',
    'ColorJitter',
    'LoadClip',
    'LogMel',
    'PackAVInputs',
    'RandAugment',
    'RandomErasing',
    'RandomFlip',
    'RandomResizedCrop',
    'Resize',
    'SpecAugment',
]
