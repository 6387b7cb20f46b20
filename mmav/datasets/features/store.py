"""Reads a folder of features; the files are mapped into memory, so that only what is asked for is read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmav.datasets.features.files import as_tokens, read_array
from mmav.datasets.features.index import StoredModality, read_index
from mmav.errors import FeatureError, did_you_mean


class FeatureStore:
    """The features of N clips.

    Args:
        folder: A folder that ``mmav extract-features`` or ``mmav import-features`` wrote.

    Raises:
        FeatureError: There are no features, they are not complete, or a file is missing or damaged.

    Attributes:
        folder: As given.
        index: What ``index.json`` says.
        paths: Path of each clip, as its manifest has it.
        labels: Part of the label, ``label`` if there is only one -> classes (N,) int64; where a clip has any number of
            labels, 1 for each of its classes and 0 for the others (N, C) int8.
        multi_label: Whether a clip has any number of labels.
        classes: Part of the label -> names of its classes.
        modalities: Names of the modalities.
        broken: Place of a clip that could not be read -> the reason. Its features are zeros.

    Example::

        store = FeatureStore('features/test')
        store.embeddings('video').shape, store.labels['label'].shape  # ((2000, 1, 768), (2000,))
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.index = read_index(folder)
        self.paths: list[str] = self.index.paths
        self.classes = {part: tuple(names) for part, names in self.index.classes.items()}
        self.multi_label = self.index.multi_label
        self.labels = {part: self._labels(values, part) for part, values in self.index.labels.items()}
        self.modalities = tuple(self.index.modalities)
        self.broken = self.index.broken
        self._present = {modality: self._mask(modality) for modality in self.modalities}
        self._starts = [0, *accumulate(shard['clips'] for shard in self.index.shards)]
        self._open: dict[int, dict[str, Tensor]] = {}
        for shard in self.index.shards:
            path = self.folder / shard['file']
            size = path.stat().st_size if path.is_file() else None
            if size != shard['bytes']:
                what = 'is missing' if size is None else f'has {size:,} bytes, not {shard["bytes"]:,}'
                raise FeatureError(f"'{path}' {what}: repeat the command that makes the features")

    def __len__(self) -> int:
        return len(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        # workers that are spawned map the files by themselves
        return {**self.__dict__, '_open': {}}

    def stored(self, modality: str) -> StoredModality:
        """Width, grid and views of a modality.

        Raises:
            FeatureError: It is not stored.
        """
        if modality not in self.modalities:
            known = ', '.join(self.modalities)
            hint = did_you_mean(modality, self.modalities)
            raise FeatureError(f"'{self.folder}' has no features of {modality!r}, only of {known}{hint}")
        return self.index.modalities[modality]

    def present(self, modality: str) -> np.ndarray:
        """Which clips have a modality (N,) bool; a broken clip has none. Features of the others are zeros."""
        self.stored(modality)
        return self._present[modality]

    def embeddings(self, modality: str) -> np.ndarray:
        """The class embeddings of all clips (N, V, D) float32."""
        stored = self.stored(modality)
        if modality in self.index.files:
            parts = [self._read_file(place, modality)[None, :, 0] for place in range(len(self))]
        else:
            parts = [self._shard(k)[f'{modality}.cls'].float() for k in range(len(self.index.shards))]
        return torch.cat(parts).numpy() if parts else np.zeros((0, stored.views, stored.width), np.float32)

    def tokens(self, place: int, modality: str, views: Sequence[int] | None = None) -> Tensor:
        """Class embedding and patch tokens of a clip (V, 1 + N, D) float32, the class embedding first.

        Args:
            place: Of the clip.
            modality: Of the features.
            views: Which of the stored views; all by default.
        """
        stored = self.stored(modality)
        if modality in self.index.files:
            tokens = self._read_file(place, modality)
            return tokens if views is None else tokens[list(views)]
        shard = bisect_right(self._starts, place) - 1
        tensors, row = self._shard(shard), place - self._starts[shard]
        chosen = range(stored.views) if views is None else views
        out = torch.empty(len(chosen), 1 + stored.num_tokens, stored.width)
        for target, view in zip(out, chosen, strict=True):
            target[0] = tensors[f'{modality}.cls'][row, view]
            if stored.num_tokens:
                target[1:] = tensors[f'{modality}.patches'][row, view]
        return out

    def _labels(self, values: Sequence[Any], part: str) -> np.ndarray:
        if not self.multi_label:
            return np.array(values, dtype=np.int64)
        labels = np.zeros((len(values), len(self.classes[part])), dtype=np.int8)
        for row, classes in zip(labels, values, strict=True):
            row[list(classes)] = 1
        return labels

    def _mask(self, modality: str) -> np.ndarray:
        mask = np.ones(len(self.paths), dtype=bool)
        mask[self.index.absent.get(modality, [])] = False
        mask[list(self.broken)] = False
        return mask

    def _read_file(self, place: int, modality: str) -> Tensor:
        """The tokens (V, 1 + N, D) in a file made elsewhere; zeros where there is none."""
        stored, path = self.stored(modality), self.index.files[modality][place]
        shape = (stored.views, 1 + stored.num_tokens, stored.width)
        if path is None:
            return torch.zeros(shape)
        class_token = modality in self.index.class_tokens
        tokens = as_tokens(read_array(path, modality), class_token=class_token, num_tokens=stored.num_tokens or None)
        if tokens.shape != shape:
            raise FeatureError(
                f"'{path}' has changed: its tokens are {tuple(tokens.shape)}, not {shape}; import it again"
            )
        return tokens

    def _shard(self, number: int) -> dict[str, Tensor]:
        """The tensors of a shard, mapped into memory."""
        if number not in self._open:
            path = self.folder / self.index.shards[number]['file']
            try:
                with safe_open(path, 'pt') as file:
                    self._open[number] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise FeatureError(
                    f"'{path}' is damaged ({error}): remove it and repeat the command that makes the features"
                ) from error
        return self._open[number]
