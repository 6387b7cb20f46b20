"""A trained model as an encoder of ``mteb``, for the audio-visual tasks of its benchmark MVEB.

``mteb`` is not needed by anything else here and is imported only to describe the model.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmav.errors import ConfigError, MediaError, MmavError, did_you_mean
from mmav.files import digest_of
from mmav.inference.embedding import JOINED, embed
from mmav.inference.inferencer import AVInferencer
from mmav.structures import MODALITIES, PROJECTED

# rows whose files are on the disk at a time
CHUNK = 64
_SUFFIX = dict(video='.mp4', audio='.wav')


class MTEBEncoder:
    """Embeds the clips of ``mteb``'s tasks with a trained classifier of this library.

    It has the interface ``EncoderProtocol`` of embeddings-benchmark/mteb, mteb/models/models_protocols.py::

        import mteb
        encoder = MTEBEncoder('configs/mmt/mmt_k4_l4_vggsound.py', 'work_dirs/mmt/epoch_50.pth')
        mteb.evaluate(encoder, mteb.get_tasks(['AVEDatasetClassification', 'Kinetics700VA']))

    Rows are read from the task's encoded files with the model's own test pipeline, so frames, sound and front end are
    those that it was trained with; ``mteb``'s decoded frames are not used. A task without one of the modalities
    withholds it, even where a video file has a track of sound. A longer clip is embedded window by window and averaged.
    Tasks that compare clips of different modalities, such as retrieval or pairs of a video and a sound, compare the
    projections of the contrastive losses, which share a space; of a clip with both, the mean of its two unit vectors.

    Args:
        config: A config file, or a config.
        checkpoint: Checkpoint file; None for random weights.
        features: Which embedding, see :func:`mmav.inference.embedding.embed`. Defaults to ``joined``, what the last
            layer reads, for tasks with all the modalities of the model, and to the modality's own for tasks with one.
            Tasks that compare modalities do not ask it.
        name: Name of the model in ``mteb``'s results, 'organisation/model'; defaults to the config's.
        training_datasets: ``mteb``'s names of what it was trained on, such as 'Kinetics700VA', by which its leaderboard
            tells what is not zero-shot. None for unknown.
        device: Such as 'cuda:1' or 'cpu'; defaults to a GPU where there is one.

    Raises:
        MmavError: Config, checkpoint or name are missing or wrong.
    """

    def __init__(
        self,
        config: Any,
        checkpoint: str | os.PathLike[str] | None,
        *,
        features: str | None = None,
        name: str | None = None,
        training_datasets: Sequence[str] | None = None,
        device: str | None = None,
    ) -> None:
        self.inferencer = AVInferencer(config, checkpoint, device=device, show_progress=False)
        self.features = features
        stem = Path(getattr(self.inferencer.cfg, 'filename', None) or 'model').stem
        self.name = name or f'mmav/{stem}'
        if self.name.count('/') != 1 or not all(self.name.split('/')):
            raise ConfigError(f'name={self.name!r} must have the form organisation/model, as mteb stores results')
        self.revision = 'random' if checkpoint is None else digest_of(Path(checkpoint).expanduser())[:12]
        self.training_datasets = None if training_datasets is None else set(training_datasets)

    @property
    def mteb_model_meta(self) -> Any:
        """What ``mteb`` notes of the model: a ``ModelMeta``.

        Raises:
            MmavError: ``mteb`` is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ImportError as error:
            raise MmavError(f'mteb cannot be imported ({error}): pip install mteb, on Python 3.11 or newer') from error
        parameters = list(self.inferencer.model.parameters())
        return ModelMeta(
            loader=None,
            name=self.name,
            revision=self.revision,
            release_date=None,
            languages=None,
            n_parameters=sum(each.numel() for each in parameters),
            memory_usage_mb=sum(each.numel() * each.element_size() for each in parameters) / 2**20,
            max_tokens=None,
            embed_dim=None,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=['PyTorch'],
            similarity_fn_name='cosine',
            use_instructions=False,
            training_datasets=self.training_datasets,
            modalities=list(self.inferencer.modalities),
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any = None,
        hf_split: str = '',
        hf_subset: str = '',
        prompt_type: Any = None,
        batch_size: int = 8,
        show_progress_bar: bool = True,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeds the rows of a task.

        Args:
            inputs: The task's loader, whose ``dataset`` has the columns ``video``, ``audio`` or both.
            task_metadata: Of the task; its name is used in messages.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: Not used: the model takes no instructions.
            batch_size: Windows in a batch.
            show_progress_bar: Whether to show a progress bar.
            kwargs: Further options of ``mteb``, which have no effect on this model.

        Returns:
            (N, D) float32, in the order of the rows.

        Raises:
            ConfigError: The task has text or images, or nothing that the model reads; or it compares modalities, and
                the model has no space that they share.
            MediaError: A row cannot be read.
        """
        task = getattr(task_metadata, 'name', 'this task')
        dataset = _encoded(inputs.dataset)
        columns = set(getattr(dataset, 'column_names', None) or dataset.features)
        other = sorted(columns & {'text', 'image'})
        if other:
            raise ConfigError(
                f'{task} has {" and ".join(other)}, which this model cannot embed: choose tasks of video and audio '
                'alone, such as those of category v2c or va2c'
            )
        read = self.inferencer.modalities
        given = [name for name in MODALITIES if name in columns and name in read]
        if not given:
            raise ConfigError(f'{task} has {", ".join(sorted(columns))}; the model reads {" and ".join(read)}')
        drop = [name for name in read if name not in given]
        rows = []
        with tqdm(desc=task, unit='clip', total=len(dataset), disable=not show_progress_bar) as bar:
            for first in range(0, len(dataset), CHUNK):
                numbers = range(first, min(first + CHUNK, len(dataset)))
                with _files([dataset[k] for k in numbers], given, first) as clips:
                    rows += embed(self.inferencer, clips, batch_size, drop=drop)
                bar.update(len(numbers))
        if _compares_modalities(task_metadata, columns):
            return np.stack([_shared(row, given, task) for row in rows])
        name = self.features or (given[0] if drop and len(given) == 1 else JOINED)
        for number, row in enumerate(rows):
            if name not in row:
                raise ConfigError(
                    f'{task}: row {number} has {", ".join(row)}, not {name!r}{did_you_mean(name, row)}; choose one '
                    'that all have as features'
                )
        return np.stack([row[name] for row in rows])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Cosine similarity of all pairs: (N, D) and (M, D) to (N, M)."""
        return _units(embeddings1) @ _units(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        """Cosine similarity of row i with row i: (N, D) and (N, D) to (N,)."""
        return (_units(embeddings1) * _units(embeddings2)).sum(axis=-1)


def _units(values: Any) -> np.ndarray:
    array = np.atleast_2d(np.asarray(values, dtype=np.float32))
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), np.finfo(np.float32).tiny)


def _compares_modalities(metadata: Any, columns: Collection[str]) -> bool:
    """Whether a task compares clips of some modalities with clips of others.

    Args:
        metadata: Of the task.
        columns: Of the rows, which are one side of what is compared.
    """
    kind = str(getattr(metadata, 'type', ''))
    if 'Retrieval' in kind or 'Reranking' in kind:
        return set(metadata.get_modalities('query')) != set(metadata.get_modalities('document'))
    if 'PairClassification' in kind or 'STS' in kind:
        sides = [set(side) for side in str(metadata.category).split('2')]
        if set().union(*sides) <= {'v', 'a'}:
            return sides[0] != sides[-1]
        return not set(metadata.modalities) <= set(columns)  # such as v2c, where c is no modality
    return False


def _shared(row: Mapping[str, np.ndarray], given: Sequence[str], task: str) -> np.ndarray:
    """A clip in the space that both modalities share."""
    found = [row[name + PROJECTED] for name in given if name + PROJECTED in row]
    if not found:
        raise ConfigError(
            f'{task} compares modalities, and this model has no space that they share: train it with a contrastive '
            'head (model.contrast), such as mmt_k4_l4_avc'
        )
    return _units(found).mean(axis=0)


def _encoded(dataset: Any) -> Any:
    """The dataset with its media columns not decoded, as dicts of ``bytes`` and ``path``."""
    for name in MODALITIES:
        feature = dataset.features.get(name)
        # datasets.Video and datasets.Audio; other columns, such as arrays, stay as they are
        if hasattr(feature, 'decode') and feature.decode:
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


@contextmanager
def _files(rows: Sequence[Mapping[str, Any]], given: Sequence[str], first: int) -> Iterator[list[Any]]:
    """The clips of rows as files, which are removed afterwards if they were written here."""
    with tempfile.TemporaryDirectory(prefix='mmav-') as folder:
        yield [_clip(row, given, Path(folder), first + k) for k, row in enumerate(rows)]


def _clip(row: Mapping[str, Any], given: Sequence[str], folder: Path, number: int) -> dict[str, Any]:
    """The files or arrays of one row, as :func:`mmav.inference.sources.list_sources` takes them."""
    where = f'row {number}'
    files, arrays = {}, {}
    for name in given:
        value = row[name]
        if value is None:
            continue
        if isinstance(value, Mapping) and value.get('array') is not None:
            arrays[name] = value
        elif isinstance(value, Mapping) and value.get('bytes'):
            file = folder / f'{number}_{name}{Path(value.get("path") or "").suffix or _SUFFIX[name]}'
            file.write_bytes(value['bytes'])
            files[name] = str(file)
        elif isinstance(value, Mapping) and value.get('path'):
            files[name] = str(value['path'])
        else:
            raise MediaError(where, f'its {name} is a {type(value).__name__}, not an encoded file of the task')
    if arrays.keys() == {'audio'}:
        sound = arrays['audio']
        file = folder / f'{number}_audio.npz'
        np.savez(file, audio=np.asarray(sound['array']), sample_rate=int(sound['sampling_rate']))
        files['audio'] = str(file)
    elif arrays:
        raise MediaError(where, 'its video is an array without a frame rate, not an encoded file of the task')
    if not files:
        raise MediaError(where, f'has no {" and no ".join(given)}')
    return files
