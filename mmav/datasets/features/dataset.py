"""Trains necks, heads and contrastive losses on stored features, with all that AVDataset knows of clips."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mmav.class_names import Names, tell_difference
from mmav.datasets.av_dataset import AVDataset
from mmav.datasets.features.index import index_path
from mmav.datasets.features.store import FeatureStore
from mmav.datasets.manifest import Manifest, ManifestRow
from mmav.datasets.transforms.pack import META_KEYS
from mmav.errors import AbsentError, ConfigError, FeatureError, MediaError
from mmav.registry import DATASETS
from mmav.structures import AVDataSample, as_given


@DATASETS.register_module()
class FeatureDataset(AVDataset):
    """The clips of a folder of features, for a model with a :class:`~mmav.models.CachedBackbone` per modality.

    ``mmav train CONFIG --features DIR`` writes such a config. Class lists, broken clips, absent modalities, modality
    dropout and wrappers are those of :class:`~mmav.datasets.AVDataset`; there are no transforms, as features are read
    as they were stored. Inputs are (V, 1 + N, D) float32 per modality, the class embedding first.

    Args:
        features: Folder that ``mmav extract-features`` or ``mmav import-features`` wrote.
        ann_file: Manifest, to use other labels or fewer clips than were stored; every clip needs features. Defaults to
            the clips and labels in the folder.
        classes: Class list, see :class:`~mmav.datasets.AVDataset`; defaults to the one in the folder.
        data_root: Folder that paths are relative to. Media files are not read.
        multi_label: Whether a clip has any number of labels; defaults to what was stored.
        modalities: Defaults to all that are stored.
        num_views: How many of the stored views training reads, drawn at random; defaults to all. Testing reads all.
        test_mode: Whether the clips are for validation or testing.
        modality_dropout: Modality -> share of the clips from which training withholds it.
        drop: Modalities that are withheld from every clip.
        max_broken_share: Share of broken clips above which training, validation and testing stop.
        part_of: The dataset that the clips are a part of, see :class:`~mmav.datasets.AVDataset`.
        seed: Seed of all random draws, see :class:`~mmav.datasets.AVDataset`.
        indices: Use only these rows (counted from 0), or the first N if it is a number.

    Raises:
        FeatureError: The folder is wrong, lacks a modality or a clip, or has other classes.
        ManifestError: The manifest or class list is missing or wrong.
        ValueError: An argument is invalid.

    Attributes:
        store: The features.
    """

    reads_files: ClassVar[bool] = False

    def __init__(
        self,
        features: str,
        *,
        ann_file: str | None = None,
        classes: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None,
        data_root: str = '',
        multi_label: bool | None = None,
        modalities: Sequence[str] | None = None,
        num_views: int | None = None,
        test_mode: bool = False,
        modality_dropout: Mapping[str, float] | None = None,
        drop: Sequence[str] = (),
        max_broken_share: float = 0.1,
        part_of: str | None = None,
        seed: int | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self.store = FeatureStore(features)
        self.known_modalities = self.store.modalities
        self._places: np.ndarray
        self._has_manifest = ann_file is not None
        self.num_views = num_views
        super().__init__(
            os.path.abspath(index_path(features)) if ann_file is None else ann_file,
            [self._load],
            classes=as_given(self.store.classes) if classes is None else classes,
            data_root=data_root,
            multi_label=self.store.index.multi_label if multi_label is None else multi_label,
            modalities=self.store.modalities if modalities is None else modalities,
            test_mode=test_mode,
            modality_dropout=modality_dropout,
            drop=drop,
            max_broken_share=max_broken_share,
            part_of=part_of,
            seed=seed,
            indices=indices,
        )
        self._check_views()
        if self.store.index.encoders:
            # into the checkpoint's meta: `mmav merge` compares it with the encoders that it is given
            made = self.store.index.encoders
            self.metainfo['encoders'] = {m: made[m] for m in self.modalities if m in made}

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The row of a clip, and the place of its features."""
        info = super().get_data_info(index)
        return dict(info, place=int(self._places[self._row(index)]))

    def _read_manifest(self, names: Names) -> Manifest:
        index = self.store.index
        if not self._has_manifest:
            if names != self.store.classes:
                told = tell_difference(self.store.classes, names, ('the folder', 'classes'))
                raise FeatureError(
                    f"the classes are not those of the features in '{self.store.folder}' ({told}): leave classes out, "
                    'or give the manifest with other labels as ann_file'
                )
            if self.multi_label != index.multi_label:
                raise FeatureError(
                    f"multi_label={self.multi_label} are not the labels stored in '{self.store.folder}': leave it out, "
                    'or give the manifest with other labels as ann_file'
                )
            self._places = np.arange(len(self.store))
            columns = index.label_columns()
            labels = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            rows = zip(index.paths, labels, index.starts, index.ends, index.lines, strict=True)
            return Manifest([ManifestRow(*row) for row in rows])
        manifest = super()._read_manifest(names)
        stored = {key: place for place, key in enumerate(zip(index.paths, index.starts, index.ends, strict=True))}
        wanted = [manifest[k] for k in range(len(manifest))]
        missing = [row for row in wanted if (row.path, row.start, row.end) not in stored]
        if missing:
            raise FeatureError(
                f'{len(missing)} of the {len(manifest)} clips of {self.ann_file} have no features in '
                f"'{self.store.folder}', such as {missing[0].path} (row {missing[0].line}): extract the features of "
                'this manifest'
            )
        self._places = np.array([stored[row.path, row.start, row.end] for row in wanted], dtype=np.int64)
        return manifest

    def _check_views(self) -> None:
        views = {modality: self.store.stored(modality).views for modality in self.modalities}
        self.stored_views = max(views.values())
        if set(views.values()) - {1, self.stored_views}:
            raise FeatureError(
                f"the features in '{self.store.folder}' have {views} views: the numbers must be equal, or 1"
            )
        if self.num_views is None:
            return
        if self.test_mode:
            raise ConfigError(
                f'num_views={self.num_views} has no effect in testing, which reads all views: leave it out'
            )
        if not 0 < self.num_views <= self.stored_views:
            raise ConfigError(
                f"num_views={self.num_views}, but '{self.store.folder}' holds {self.stored_views} per clip: give a "
                f'number from 1 to {self.stored_views}, or extract more with --augment or --windows'
            )

    def _load(self, results: dict[str, Any]) -> dict[str, Any]:
        """The pipeline: reads the tokens of a clip and packs them."""
        place = results['place']
        if results['broken'] is None and place in self.store.broken:
            raise MediaError(results['path'], self.store.broken[place])
        masks = self._masks(results)
        views = self._draw_views(results['rng'])
        inputs = {modality: self._tokens(place, modality, views, masks[modality]) for modality in self.modalities}
        start, end = self.store.index.spans[place]
        if results['broken'] is None and start is not None:
            results.update(start=start, end=end)
        sample = AVDataSample(metainfo={key: results[key] for key in META_KEYS})
        sample.set_gt(results['label'], results['num_classes'])
        return dict(inputs=inputs, masks={m: torch.tensor(mask) for m, mask in masks.items()}, data_samples=sample)

    def _masks(self, results: dict[str, Any]) -> dict[str, bool]:
        """Which modalities the model gets, as LoadClip decides it."""
        place = results['place']
        there = [m for m in self.modalities if self.store.present(m)[place] and m not in results['dropped']]
        if results['broken'] is not None:
            return dict.fromkeys(self.modalities, False)
        if not there:
            asked = [m for m in self.modalities if m not in results['dropped']]
            raise AbsentError(results['path'], f'has no {" and no ".join(asked)}, and nothing else is requested')
        # dropout takes no clip's last modality
        kept = [m for m in there if m not in results['dropout']] or there
        return {modality: modality in kept for modality in self.modalities}

    def _draw_views(self, rng: np.random.Generator) -> Sequence[int] | None:
        """The views to read, None for all."""
        if self.num_views in (None, self.stored_views):
            return None
        return np.sort(rng.choice(self.stored_views, self.num_views, replace=False)).tolist()

    def _tokens(self, place: int, modality: str, views: Sequence[int] | None, present: bool) -> Tensor:
        stored = self.store.stored(modality)
        chosen = views if stored.views > 1 else None
        if present:
            return self.store.tokens(place, modality, chosen)
        return torch.zeros(len(chosen or range(stored.views)), 1 + stored.num_tokens, stored.width)
