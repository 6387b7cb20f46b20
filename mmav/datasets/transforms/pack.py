"""The last step of a pipeline: converts arrays to tensors."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from mmav.datasets.transforms.frame_ops import sheet
from mmav.registry import TRANSFORMS
from mmav.structures import AVDataSample

META_KEYS = ('path', 'start', 'end', 'sample_idx', 'broken')


@TRANSFORMS.register_module()
class PackAVInputs(BaseTransform):
    """Packs a clip for :func:`mmav.datasets.av_collate`.

    Returns ``inputs``: ``video`` (V, 3, T, H, W) uint8, ``audio`` (V, 1, F, T), or (V, 1, T) of
    :class:`~mmav.datasets.transforms.Waveform`, float32; ``masks``: a bool tensor () per
    modality; ``data_samples``: an :class:`mmav.structures.AVDataSample`.

    Raises:
        ConfigError: A clip has several labels, and the results do not say how many classes there are.
        ValueError: Views differ in size, or audio is still a waveform.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Packs the clip."""
        inputs = {}
        for modality in results['modalities']:
            inputs[modality] = (
                _pack_video(results['video'])
                if modality == 'video'
                else _pack_audio(results['audio'], results.get('audio_rank', 2))
            )
        sample = AVDataSample(metainfo={key: results[key] for key in META_KEYS})
        sample.set_gt(results['label'], results.get('num_classes'))
        masks = {modality: torch.tensor(results['masks'][modality]) for modality in results['modalities']}
        return dict(inputs=inputs, masks=masks, data_samples=sample)


def _pack_video(views: list[np.ndarray]) -> Tensor:
    shapes = {view.shape for view in views}
    if len(shapes) > 1:
        raise ValueError(f'views of one clip differ in size: {sorted(shapes)}; crop or resize them to one size')
    count, height, width, channels = views[0].shape
    packed = np.empty((len(views), channels, count, height, width), views[0].dtype)
    for view, target in zip(views, packed, strict=True):
        # Copied view by view into place; NumPy would copy the transposed array value by value.
        cv2.split(sheet(view), [plane.reshape(-1, width) for plane in target])
    return torch.from_numpy(packed)


def _pack_audio(views: list[np.ndarray], rank: int) -> Tensor:
    shapes = {view.shape for view in views}
    if len(shapes) > 1 or views[0].ndim != rank:
        raise ValueError(
            f'audio must be spectrograms (F, T) of one size, got {sorted(shapes)}: put LogMel, or another Spectrogram, '
            'before PackAVInputs; or Waveform for a model of waveforms'
        )
    return torch.from_numpy(np.stack(views)[:, None])
