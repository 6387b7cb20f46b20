"""The steps from a file to the tensors of a clip, one module per step."""

from __future__ import annotations

from mmav.datasets.transforms.audio_views import AudioViews
from mmav.datasets.transforms.color_jitter import ColorJitter
from mmav.datasets.transforms.device_log_mel import DeviceLogMel
from mmav.datasets.transforms.flip import RandomFlip
from mmav.datasets.transforms.frame_views import FlipViews, SpatialCrops
from mmav.datasets.transforms.hf_spectrogram import HFSpectrogram
from mmav.datasets.transforms.load_clip import LoadClip
from mmav.datasets.transforms.log_mel import LogMel
from mmav.datasets.transforms.pack import PackAVInputs
from mmav.datasets.transforms.rand_augment import RandAugment
from mmav.datasets.transforms.random_erasing import RandomErasing
from mmav.datasets.transforms.resize import CenterCrop, RandomResizedCrop, Resize
from mmav.datasets.transforms.spec_augment import SpecAugment
from mmav.datasets.transforms.spectrogram import Spectrogram
from mmav.datasets.transforms.wave_augment import WaveAugment
from mmav.datasets.transforms.waveform import Waveform

__all__ = [
    'AudioViews',
    'CenterCrop',
    'ColorJitter',
    'DeviceLogMel',
    'FlipViews',
    'HFSpectrogram',
    'LoadClip',
    'LogMel',
    'PackAVInputs',
    'RandAugment',
    'RandomErasing',
    'RandomFlip',
    'RandomResizedCrop',
    'Resize',
    'SpatialCrops',
    'SpecAugment',
    'Spectrogram',
    'WaveAugment',
    'Waveform',
]
