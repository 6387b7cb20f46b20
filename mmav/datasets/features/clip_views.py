"""The clips of a dataset as an encoder sees them for the last time: all the views of which features are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.broken_clips import BROKEN
from mmav.datasets.media import open_media
from mmav.datasets.transforms.load_clip import spread_windows
from mmav.errors import ConfigError, MediaError


class ClipViews(Dataset[Any]):
    """Reads every clip of a dataset several times, and joins what was read as views (V, ...).

    Args:
        dataset: In test mode. Its pipeline may be a random one, of training.
        windows: How many windows of each clip are read, spread evenly over it.
        window: Length of a window in seconds.
        augment: How often each window is read with random transforms. The k-th time draws as epoch k of training does.

    A window that cannot be read, or lacks a modality that others of its clip have, is replaced by the nearest that is
    whole; a clip is broken if no window can be read.

    Raises:
        ConfigError: A number is below 1, or windows have no length.
    """

    def __init__(self, dataset: AVDataset, *, windows: int = 1, window: float | None = None, augment: int = 1) -> None:
        for name, number in dict(windows=windows, augment=augment).items():
            if number < 1:
                raise ConfigError(f'{name}={number}: give a number from 1')
        if windows > 1 and window is None:
            raise ConfigError(
                f'windows={windows}: how long a window is, is not known; give LoadClip a window in seconds, or a '
                'spectrogram of a fixed length'
            )
        self.dataset = dataset
        self.windows = windows
        self.window = window
        self.augment = augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        dataset, info = self.dataset, self.dataset.get_data_info(index)
        if self.windows == self.augment == 1:
            return dataset[index]
        read: list[Any] = []
        with dataset.reading(index):
            try:
                spans = self._spans(info)
            except MediaError as error:
                spans, read = (), [error]
            read += [self._attempt(info, span, k) for span in spans for k in range(self.augment)]
        if all(isinstance(each, MediaError) for each in read):
            dataset.states[index] = BROKEN
            blank = dict(info, broken=f'{read[0].reason} ({dataset.place_of(index)})', rng=self._rng(info, 0))
            return _joined([dataset.pipeline(blank)] * (self.windows * self.augment))
        return _joined(_whole(read))

    def _attempt(self, info: dict[str, Any], span: tuple[float | None, float | None], k: int) -> Any:
        """What is read, or the error."""
        try:
            return self.dataset.pipeline(dict(info, start=span[0], end=span[1], rng=self._rng(info, k)))
        except MediaError as error:
            return error

    def _spans(self, info: dict[str, Any]) -> Sequence[tuple[float | None, float | None]]:
        if self.window is None or self.windows == 1:
            return [(info['start'], info['end'])]
        with open_media(info['path']) as reader:
            duration = reader.info.duration
        start = info['start'] or 0.0
        end = duration if info['end'] is None else min(info['end'], duration)
        return spread_windows(start, max(start, end), self.windows, self.window)

    def _rng(self, info: dict[str, Any], k: int) -> np.random.Generator:
        return np.random.default_rng((self.dataset.seed, k, info['sample_idx']))


def _whole(read: Sequence[Any]) -> list[dict[str, Any]]:
    """Puts the nearest whole window in the place of one that cannot be read or lacks a modality that others have."""
    present = [-1 if isinstance(each, MediaError) else sum(map(bool, each['masks'].values())) for each in read]
    whole = [k for k, number in enumerate(present) if number == max(present)]
    return [read[min(whole, key=lambda other: abs(other - k))] for k in range(len(read))]


def _joined(read: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One item of several, with their views one after another."""
    first, last = read[0], read[-1]
    sample = first['data_samples'].clone()
    sample.set_metainfo(dict(end=last['data_samples'].end))
    return dict(
        inputs={name: torch.cat([each['inputs'][name] for each in read]) for name in first['inputs']},
        masks={name: torch.stack([each['masks'][name] for each in read]).all() for name in first['masks']},
        data_samples=sample,
    )
