"""``index.json`` of a folder of features: what made them, of which clips, and where they are.

A folder holds ``index.json`` and ``shard-00000.safetensors`` and so on, or names files made elsewhere. A shard holds
for each modality ``NAME.cls`` (n, V, D), the class embeddings, and ``NAME.patches`` (n, V, N, D), the patch tokens, if
they are stored. A clip that is broken, or lacks a modality, is zeros there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from mmav.errors import FeatureError
from mmav.files import read_text

INDEX = 'index.json'
VERSION = 1
DTYPES = ('float32', 'float16')
_NO_TOKENS = (0,)


@dataclass(frozen=True)
class StoredModality:
    """The features of one modality.

    Attributes:
        width: D.
        grid: What the N patch tokens unroll, as in :class:`~mmav.structures.Tokens`; (0,) if there are none.
        views: V.
        encoder_grid: The grid of the encoder's own tokens, of which the stored ones may be averages.
    """

    width: int
    grid: tuple[int, ...] = _NO_TOKENS
    views: int = 1
    encoder_grid: tuple[int, ...] | None = None

    @property
    def num_tokens(self) -> int:
        """N."""
        return math.prod(self.grid)


@dataclass
class FeatureIndex:
    """What ``index.json`` says; lists have one entry per clip.

    Attributes:
        made_by: What the features depend on: config, checkpoint, manifest and options, with their checksums.
        encoders: Modality -> checksum of the weights of its encoder; empty for features made elsewhere.
        modalities: Modality -> its features.
        dtype: Of the stored numbers, ``float32`` or ``float16``.
        classes: Part of the label -> names of its classes.
        labels: Part of the label -> class of each clip; lists of classes where a clip has any number of labels.
        paths: Paths as the manifest has them, relative to its folder of data.
        starts: Start of each clip in seconds of its file, as in the manifest; None for the file's start.
        ends: End of each clip in seconds.
        lines: Line of each clip in the manifest.
        spans: Start and end of what was read of each clip, in seconds of the file.
        broken: Place of a clip that could not be read -> the reason.
        absent: Modality -> places of the clips that lack it, the broken ones included.
        shards: File, number of clips and bytes of each shard, in the order of the clips.
        files: Modality -> file of each clip, of features made elsewhere; None where there is none.
        class_tokens: Modalities in whose files the first token is the class embedding.
        complete: Whether all features are there.
    """

    made_by: dict[str, Any]
    encoders: dict[str, str]
    modalities: dict[str, StoredModality]
    dtype: str
    classes: dict[str, list[str]]
    labels: dict[str, list[int] | list[list[int]]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    starts: list[float | None] = field(default_factory=list)
    ends: list[float | None] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    spans: list[tuple[float | None, float | None]] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    absent: dict[str, list[int]] = field(default_factory=dict)
    shards: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, list[str | None]] = field(default_factory=dict)
    class_tokens: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def multi_label(self) -> bool:
        """Whether a clip has any number of labels."""
        return any(isinstance(label, (list, tuple)) for labels in self.labels.values() for label in labels[:1])

    def label_columns(self) -> dict[str, list[Any]]:
        """Part of the label -> label of each clip, as :class:`~mmav.datasets.manifest.ManifestRow` has it."""
        return {
            part: [tuple(label) if isinstance(label, (list, tuple)) else label for label in labels]
            for part, labels in self.labels.items()
        }

    def to_json(self) -> str:
        """The content of the file."""
        # one line a key, so that a person can read the head of a long file
        lines = [f'{json.dumps(name)}: {json.dumps(value)}' for name, value in asdict(self).items()]
        return '{\n"mmav_features": ' + str(VERSION) + ',\n' + ',\n'.join(lines) + '\n}\n'


def index_path(folder: str | Path) -> Path:
    """The index of a folder."""
    return Path(folder).expanduser() / INDEX


def read_index(folder: str | Path, *, unfinished_ok: bool = False) -> FeatureIndex:
    """Reads the index of a folder of features.

    Args:
        folder: The folder.
        unfinished_ok: Whether the extraction may still be under way.

    Raises:
        FeatureError: There is none, it is of another version or not an index, or the extraction is not finished.
    """
    path = index_path(folder)
    if not path.is_file():
        inside = sorted(p.parent.name for p in path.parent.glob(f'*/{INDEX}'))
        if inside:
            first = path.parent / inside[0]
            raise FeatureError(f"'{folder}' holds features of {', '.join(inside)}: name one, such as '{first}'")
        raise FeatureError(f"no features in '{folder}': there is no {INDEX}; make them with `mmav extract-features`")
    index = parse_index(read_text(path, 'index of features'), str(path))
    if not index.complete and not unfinished_ok:
        raise FeatureError(f"the features in '{folder}' are not complete: repeat the command that makes them")
    return index


def parse_index(text: str, source: str) -> FeatureIndex:
    """Parses the content of an index.

    Raises:
        FeatureError: It is of another version, or not an index.
    """
    try:
        content = json.loads(text)
        version = content.pop('mmav_features')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FeatureError(f"'{source}' is not an index of features: make them with `mmav extract-features`") from error
    if version != VERSION:
        raise FeatureError(
            f"'{source}' has version {version} of the format, this mmav reads {VERSION}: extract the features again"
        )
    known = {each.name for each in fields(FeatureIndex)}
    try:
        content['modalities'] = {name: _stored(each) for name, each in content['modalities'].items()}
        content['broken'] = {int(place): reason for place, reason in content['broken'].items()}
        index = FeatureIndex(**{name: value for name, value in content.items() if name in known})
        _check(index)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FeatureError(f"'{source}' is damaged ({error}): extract the features again") from error
    return index


def _stored(content: Mapping[str, Any]) -> StoredModality:
    encoder = content.get('encoder_grid')
    return StoredModality(
        width=int(content['width']),
        grid=tuple(map(int, content['grid'])),
        views=int(content['views']),
        encoder_grid=None if encoder is None else tuple(map(int, encoder)),
    )


def _check(index: FeatureIndex) -> None:
    number = len(index.paths)
    if index.dtype not in DTYPES:
        raise ValueError(f'dtype {index.dtype!r} is unknown')
    lists: dict[str, Any] = dict(starts=index.starts, ends=index.ends, lines=index.lines, spans=index.spans)
    lists |= {f'labels of {part}': labels for part, labels in index.labels.items()}
    lists |= {f'files of {modality}': files for modality, files in index.files.items()}
    for name, values in lists.items():
        if len(values) != number:
            raise ValueError(f'{number} paths and {len(values)} {name}')
    if index.complete and index.shards and sum(shard['clips'] for shard in index.shards) != number:
        raise ValueError(f'the shards hold another number of clips than {number}')
