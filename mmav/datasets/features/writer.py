"""Writes features to a folder: shards whole or not at all, and the index last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from mmav.datasets.features.index import DTYPES, FeatureIndex, StoredModality, index_path
from mmav.errors import FeatureError, did_you_mean
from mmav.outputs import write_output, writing

KIND = 'features'
SHARD_CLIPS = 256


def shard_name(number: int) -> str:
    """File of a shard.

    >>> shard_name(12)
    'shard-00012.safetensors'
    """
    return f'shard-{number:05}.safetensors'


def as_dtype(name: str) -> torch.dtype:
    """The type of that name.

    Raises:
        FeatureError: Features are not stored in it.
    """
    if name not in DTYPES:
        raise FeatureError(f'dtype={name!r}: choose {" or ".join(DTYPES)}{did_you_mean(name, DTYPES)}')
    return getattr(torch, name)


def shard_tensors(features: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """The tensors of a shard.

    Args:
        features: Modality -> class embedding and patch tokens of n clips (n, V, 1 + N, D), the class embedding first.
        dtype: Type to store them in.

    Raises:
        FeatureError: The type is unknown.
    """
    tensors, kind = {}, as_dtype(dtype)
    for modality, tokens in features.items():
        tensors[f'{modality}.cls'] = tokens[:, :, 0].to(kind).contiguous()
        if tokens.shape[2] > 1:
            tensors[f'{modality}.patches'] = tokens[:, :, 1:].to(kind).contiguous()
    return tensors


def write_shard(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a shard, whole or not at all.

    Raises:
        OutputError: There is a file that this program did not write.
        OSError: It cannot be written.
    """
    with writing(path, kind=KIND) as part:
        # not save_file, whose file nobody else may read
        part.write_bytes(save(dict(tensors), metadata=dict(metadata or {})))


def write_index(folder: str | Path, index: FeatureIndex) -> None:
    """Writes the index of a folder.

    Raises:
        OutputError: There is one that this program did not write.
    """
    write_output(index_path(folder), index.to_json())


def write_features(
    folder: str | Path,
    features: Mapping[str, Tensor],
    labels: Mapping[str, Sequence[int] | Sequence[Sequence[int]]],
    *,
    classes: Mapping[str, Sequence[str]],
    grids: Mapping[str, Sequence[int]] | None = None,
    paths: Sequence[str] | None = None,
    absent: Mapping[str, Sequence[int]] | None = None,
    broken: Mapping[int, str] | None = None,
    dtype: str = 'float32',
    made_by: Mapping[str, Any] | None = None,
    shard_clips: int = SHARD_CLIPS,
) -> None:
    """Writes features that are in memory, as a folder that :class:`~mmav.datasets.features.FeatureStore` reads.

    Args:
        folder: The folder.
        features: Modality -> class embedding and patch tokens (clips, V, 1 + N, D), the class embedding first.
        labels: Part of the label -> class of each clip, or the list of its classes where it has any number of labels.
        classes: Part of the label -> names of its classes.
        grids: Modality -> what its N patch tokens unroll; defaults to (N,).
        paths: Path of each clip; defaults to numbers.
        absent: Modality -> places of the clips that lack it.
        broken: Place of a clip that could not be read -> the reason.
        dtype: ``float32`` or ``float16``.
        made_by: What made them, for people.
        shard_clips: Clips in a shard.

    Raises:
        FeatureError: The type is unknown, or the modalities or labels have different numbers of clips.
        OutputError: The folder has files that this program did not write.
    """
    numbers = {name: len(value) for name, value in {**features, **labels}.items()}
    number = next(iter(numbers.values()))
    if len(set(numbers.values())) > 1:
        raise FeatureError('numbers of clips differ: ' + ', '.join(f'{n} of {name}' for name, n in numbers.items()))
    index = FeatureIndex(
        made_by=dict(made_by or {}),
        encoders={},
        modalities={
            name: StoredModality(value.shape[3], tuple((grids or {}).get(name, (value.shape[2] - 1,))), value.shape[1])
            for name, value in features.items()
        },
        dtype=dtype,
        classes={part: list(names) for part, names in classes.items()},
        labels={part: [_plain(label) for label in values] for part, values in labels.items()},
        paths=list(paths if paths is not None else map(str, range(number))),
        starts=[None] * number,
        ends=[None] * number,
        lines=list(range(2, number + 2)),
        spans=[(None, None)] * number,
        broken=dict(broken or {}),
        absent={name: list(places) for name, places in (absent or {}).items()},
        complete=True,
    )
    for first in range(0, number, shard_clips):
        part = {name: value[first : first + shard_clips] for name, value in features.items()}
        path = Path(folder).expanduser() / shard_name(len(index.shards))
        write_shard(path, shard_tensors(part, dtype))
        clips = min(shard_clips, number - first)
        index.shards.append(dict(file=path.name, clips=clips, bytes=path.stat().st_size))
    write_index(folder, index)


def _plain(label: Any) -> Any:
    return sorted(set(map(int, label))) if isinstance(label, (list, tuple)) else int(label)
