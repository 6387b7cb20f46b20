"""Finds and checks features made elsewhere, and writes the index by which they are read where they are."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from mmav.class_names import Names
from mmav.datasets.features.files import SUFFIXES, as_tokens, read_array
from mmav.datasets.features.index import FeatureIndex, StoredModality
from mmav.datasets.manifest import read_manifest
from mmav.datasets.manifest_table import read_table
from mmav.datasets.media import files_of
from mmav.errors import FeatureError, ManifestError, did_you_mean
from mmav.structures import MODALITIES


def find_files(manifest: str, sources: Mapping[str, str], parts: Sequence[str]) -> dict[str, list[str | None]]:
    """Finds the file of each clip.

    Args:
        manifest: CSV file.
        sources: Modality -> a folder, in which a clip's file has the clip's path or name with another suffix; or a
            column of the manifest with paths, relative to its folder.
        parts: Columns of labels.

    Returns:
        Modality -> path of each clip's file; None where there is none.

    Raises:
        ManifestError: The manifest is wrong, or has no such column.
        FeatureError: Two files of a folder belong to one clip, or there is no such modality.
    """
    for name in sources:
        if name not in MODALITIES:
            hint = did_you_mean(name, MODALITIES)
            raise FeatureError(f'{name}={sources[name]}: no modality {name!r}, only {" and ".join(MODALITIES)}{hint}')
    table = read_table(manifest, parts)
    paths = [files_of(table.clip(line, cells))[0] for line, cells in table.rows]
    found: dict[str, list[str | None]] = {}
    for modality, source in sources.items():
        if os.path.isdir(source):
            known = _files_in(source)
            found[modality] = [_file_of(path, known) for path in paths]
        elif source in table.header:
            column = table.header.index(source)
            folder = os.path.dirname(os.path.abspath(manifest))
            cells = [cells[column].strip() for _, cells in table.rows]
            names = [os.path.join(folder, cell) if cell else None for cell in cells]
            found[modality] = [name if name and os.path.isfile(name) else None for name in names]
        else:
            hint = did_you_mean(source, table.header)
            raise ManifestError(f"{modality}={source}: no such folder, and '{manifest}' has no such column{hint}")
    return found


def _files_in(folder: str) -> dict[str, str]:
    """Path below the folder without its suffix, and name without its suffix where it is the only one -> file."""
    files = [path for path in sorted(Path(folder).rglob('*')) if path.suffix in SUFFIXES and path.is_file()]
    known: dict[str, str] = {}
    for path in files:
        key = path.relative_to(folder).with_suffix('').as_posix()
        if key in known:
            raise FeatureError(f"'{known[key]}' and '{path}' are both features of {key}: remove one of them")
        known[key] = os.path.abspath(path)
    stems = Counter(path.stem for path in files)
    return {**{path.stem: os.path.abspath(path) for path in files if stems[path.stem] == 1}, **known}


def _file_of(path: str, known: Mapping[str, str]) -> str | None:
    whole = os.path.splitext(path)[0]
    return known.get(whole) or known.get(os.path.basename(whole))


def import_features(
    manifest: str,
    classes: Names,
    files: Mapping[str, Sequence[str | None]],
    *,
    class_tokens: Sequence[str] = (),
    num_tokens: Mapping[str, int] | None = None,
    missing_ok: bool = False,
    multi_label: bool = False,
    show_progress: bool = True,
) -> FeatureIndex:
    """Checks every file and makes the index.

    Args:
        manifest: CSV file.
        classes: Part of the label -> names of its classes.
        files: Modality -> path of each clip's file, see :func:`find_files`.
        class_tokens: Modalities in whose files the first token is the class embedding.
        num_tokens: Modality -> to how many tokens those of each clip are averaged, for files of different lengths.
        missing_ok: Whether a clip may lack the file of a modality, which then counts as absent.
        multi_label: Whether a clip has any number of labels, see :func:`~mmav.datasets.manifest.read_manifest`.
        show_progress: Whether to show a progress bar.

    Raises:
        ManifestError: The manifest is wrong.
        FeatureError: Files are missing, differ in shape or are not finite: one line for each kind of problem.
    """
    rows = read_manifest(manifest, classes, multi_label=multi_label)
    clips = [rows[k] for k in range(len(rows))]
    problems = [] if missing_ok else _missing(files, [clip.path for clip in clips])
    stored: dict[str, StoredModality] = {}
    for modality, paths in files.items():
        there = [path for path in paths if path is not None]
        if not there:
            raise FeatureError(f'none of the {len(clips)} clips has a file of {modality} features')
        wanted = (num_tokens or {}).get(modality)
        shapes: dict[tuple[int, ...], str] = {}
        spoilt = []
        for path in tqdm(there, desc=modality, unit='file', file=sys.stderr, disable=not show_progress):
            values = read_array(path, modality)
            if not bool(values.isfinite().all()):
                spoilt.append(path)
            tokens = _tokens_of(values, modality in class_tokens, wanted, path)
            shapes.setdefault(tuple(tokens.shape), path)
        if spoilt:
            problems.append(f'{len(spoilt)} files of {modality} are not finite (NaN or infinite), such as {spoilt[0]}')
        problems += _differences(shapes, modality)
        views, tokens_each, width = next(iter(shapes))
        stored[modality] = StoredModality(width, (tokens_each - 1,), views)
    if problems:
        raise FeatureError('\n'.join(problems))
    absent = {modality: [k for k, path in enumerate(paths) if path is None] for modality, paths in files.items()}
    nothing = set.intersection(*map(set, absent.values()))
    return FeatureIndex(
        made_by=dict(files='made elsewhere', manifest=os.path.abspath(manifest)),
        encoders={},
        modalities=stored,
        dtype='float32',
        classes={part: list(names) for part, names in classes.items()},
        labels={part: [clip.label[part] for clip in clips] for part in classes},
        paths=[clip.path for clip in clips],
        starts=[clip.start for clip in clips],
        ends=[clip.end for clip in clips],
        lines=[clip.line for clip in clips],
        spans=[(clip.start, clip.end) for clip in clips],
        broken=dict.fromkeys(sorted(nothing), 'no file of features'),
        absent=absent,
        files={modality: list(paths) for modality, paths in files.items()},
        class_tokens=list(class_tokens),
        complete=True,
    )


def _tokens_of(values: Tensor, class_token: bool, num_tokens: int | None, path: str) -> Tensor:
    if num_tokens is not None and num_tokens > values.shape[1] - class_token:
        raise FeatureError(f"'{path}' has {values.shape[1] - class_token} tokens, fewer than the {num_tokens} wanted")
    return as_tokens(values, class_token=class_token, num_tokens=num_tokens)


def _missing(files: Mapping[str, Sequence[str | None]], paths: Sequence[str]) -> list[str]:
    lines = []
    for modality, found in files.items():
        missing = [path for path, file in zip(paths, found, strict=True) if file is None]
        if missing:
            lines.append(
                f'{len(missing)} of the {len(paths)} clips have no file of {modality} features, such as {missing[0]}; '
                'with --missing-ok they lack this modality'
            )
    return lines


def _differences(shapes: Mapping[tuple[int, ...], str], modality: str) -> list[str]:
    (first, one), *others = shapes.items()
    lines = []
    for axis, name, remedy in (
        (2, 'numbers wide', 'they are of different encoders'),
        (0, 'views', 'give all files the same number'),
        (1, 'tokens', f'--num-tokens {modality}=N averages them to one number'),
    ):
        other = next(((shape, path) for shape, path in others if shape[axis] != first[axis]), None)
        if other is not None:
            shape, path = other
            numbers = [each[axis] - (axis == 1) for each in (first, shape)]  # without the class embedding
            what = f'{one} has {numbers[0]} {name}, {path} {numbers[1]}'
            lines.append(f'{modality} features differ: {what}: {remedy}')
    return lines
