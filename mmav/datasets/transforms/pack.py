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
    modality; ``data_samples``: an :class:`mmav.structures.AVDataSample`. After
    :class:`~mmav.datasets.transforms.DeviceLogMel` ``audio`` is (V, 1, S), padded with zeros, and ``lengths`` has its
    samples (V,) before that.

    Raises:
        ConfigError: A clip has several labels, and the results do not say how many classes there are.
        ValueError: Views differ in size, or audio is still a waveform.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Packs the clip."""
        inputs = {}
        lengths = {}
        for modality in results['modalities']:
            if modality == 'audio' and 'audio_samples' in results:
                inputs[modality], lengths[modality] = _pack_waveforms(results['audio'], results['audio_samples'])
                continue
            inputs[modality] = (
                _pack_video(results['video'])
                if modality == 'video'
                else _pack_audio(results['audio'], results.get('audio_rank', 2))
            )
        sample = AVDataSample(metainfo={key: results[key] for key in META_KEYS})
        sample.set_gt(results['label'], results.get('num_classes'))
        masks = {modality: torch.tensor(results['masks'][modality]) for modality in results['modalities']}
        return dict(inputs=inputs, masks=masks, data_samples=sample, **(dict(lengths=lengths) if lengths else {}))


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


def _pack_waveforms(views: list[np.ndarray], least: int) -> tuple[Tensor, Tensor]:
    """Waveforms (V, 1, S) of S samples, ``least`` or as many as the longest has, and the number of each (V,)."""
    if any(view.ndim != 1 for view in views):
        raise ValueError('DeviceLogMel is followed by a step that makes spectrograms: leave one of them out')
    lengths = torch.tensor([len(view) for view in views])
    packed = torch.zeros(len(views), 1, max(least, int(lengths.max())))
    for view, target in zip(views, packed, strict=True):
        target[0, : len(view)] = torch.from_numpy(view)
    return packed, lengths


def _pack_audio(views: list[np.ndarray], rank: int) -> Tensor:
    shapes = {view.shape for view in views}
    if len(shapes) > 1 or views[0].ndim != rank:
        raise ValueError(
            f'audio must be spectrograms (F, T) of one size, got {sorted(shapes)}: put LogMel, or another Spectrogram, '
            'before PackAVInputs; or Waveform for a model of waveforms'
        )
    return torch.from_numpy(np.stack(views)[:, None])
