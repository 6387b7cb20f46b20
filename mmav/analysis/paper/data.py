"""Whether the data of a dataset are there, before hours of training find out that they are not."""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from mmav.analysis.paper.figures import PaperDataset
from mmav.class_names import read_classes
from mmav.datasets.manifest import join_path
from mmav.errors import ManifestError
from mmav.preparation.checking import read_rows


def check_data(dataset: PaperDataset, data_root: str | Path, *, progress: bool = True) -> dict[str, int]:
    """Checks that the lists are there and of the right classes, and that each file that they name exists.

    Args:
        dataset: The dataset.
        data_root: Folder of the manifests.
        progress: Whether to show a progress bar.

    Returns:
        Name of each manifest -> its rows.

    Raises:
        ManifestError: Something is missing; says what to do.
    """
    root = Path(data_root).expanduser()
    remedy = f'prepare it with `{dataset.prepare} --out {data_root}` (tools/data/{dataset.key}/README.md)'
    if not root.is_dir():
        raise ManifestError(f"no folder '{data_root}' of {dataset.name}: {remedy}, or give another --data-root")
    for name in (*dataset.lists, *dataset.classes):
        if not (root / name).is_file():
            raise ManifestError(f"'{data_root}' has no {name} of {dataset.name}: {remedy}")
    for name, number in dataset.classes.items():
        found = len(read_classes(str(root / name)))
        if found != number:
            raise ManifestError(f"'{root / name}' has {found} classes, and the configs have {number}: {remedy}")
    return {name: _check_list(root, name, dataset, progress=progress) for name in dataset.lists}


def _check_list(root: Path, name: str, dataset: PaperDataset, *, progress: bool) -> int:
    clips = read_rows(str(root / name)).clips
    if not clips:
        raise ManifestError(f"'{root / name}' has no rows: give the prepared lists of {dataset.name}")
    # a segment's video stands in many rows; the two files of a pair are named by the reader
    paths = dict.fromkeys(clip.path for clip in clips)
    bar = tqdm(paths, f'{dataset.name}, files of {name}', unit='file', mininterval=0.5, disable=not progress)
    missing = [path for path in bar if not os.path.exists(join_path(str(root), path))]
    if missing:
        raise ManifestError(
            f"{len(missing):,} of the {len(paths):,} files that '{root / name}' names are missing, the first is "
            f"'{missing[0]}': prepare the lists again from the clips that are there, or `mmav check {root}`"
        )
    return len(clips)
